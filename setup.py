"""What pyproject.toml cannot say: the C core is built by cffi, once for all Pythons from 3.11 (abi3)."""

from setuptools import setup

setup(cffi_modules=["native/build.py:ffi"], options={"bdist_wheel": {"py_limited_api": "cp311"}})
