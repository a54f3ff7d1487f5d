# Runs at the start of every Python that sees this folder on PYTHONPATH, of whatever version and environment:
# it starts Sardonyx's hook and then the sitecustomize that it hides. It must be valid in any Python, quick,
# and never fail.
import sys

if sys.version_info >= (3, 7):
    try:
        import sardonyx_hook  # type: ignore[import-not-found,unused-ignore]

        sardonyx_hook.start()
    except BaseException:
        pass
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    # What the hidden one raises is left to Python to report, as it would without us.
    spec = PathFinder.find_spec("sitecustomize", [p for p in sys.path if p != __file__.rpartition("/")[0]])
    if spec is not None and spec.loader is not None and spec.origin != __file__:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)
