"""One file per command: parse, call, print, exit code. The only room that prints and exits."""
