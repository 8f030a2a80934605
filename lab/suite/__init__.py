"""The whole test suite, spread over this machine and several guests that run side by side: ``python -m lab.suite``.

`exchange` is what runner and workers share, `plugin` runs in each worker's pytest, `worker` is one such process,
`runner` starts and watches them, `display` shows what happens, `report` writes JUnit files.
"""
