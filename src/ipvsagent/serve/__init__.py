"""What a running agent serves over HTTP: health, pages for people, and metrics (`metrics`).

Everything is made from values that the agent publishes; nothing here asks the kernel or waits for the owner thread.
"""
