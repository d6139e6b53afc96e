"""Compiles every module of ``sgdest/_core``; all other metadata is in ``pyproject.toml``."""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("SGDEST_DEBUG") == "1"

# Wanted, not needed: a compiler that does not know a flag builds without it. Sums that may be
# reordered say so one by one (omp simd); -ffast-math would break isfinite in the whole process.
WANTED_FLAGS = [
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    # loops over the six arrays of an optimizer become vectors too
    "--param=vect-max-version-for-alias-checks=40",
    "-Wno-unknown-pragmas",
]


class BuildExtensions(build_ext):
    """Adds those of ``WANTED_FLAGS`` that the compiler at hand accepts."""

    def build_extensions(self):
        flags = ["-O0", "-g"] if DEBUG else ["-O3"]
        if self.compiler.compiler_type == "msvc":
            flags = ["/Od", "/Zi"] if DEBUG else ["/O2"]
        flags += [flag for flag in WANTED_FLAGS if self._accepts(flag)]
        for extension in self.extensions:
            extension.extra_compile_args = flags
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()

    def _accepts(self, flag):
        folder = Path(self.build_temp)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / "probe.c"
        probe.write_text("int main(void) { return 0; }\n")
        try:
            self.compiler.compile(
                [str(probe)], output_dir=str(folder), extra_postargs=["-Werror", flag]
            )
        except Exception:  # distutils' CompileError differs between setuptools versions
            return False
        return True


def extensions():
    macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
    if not DEBUG:
        macros.append(("CYTHON_WITHOUT_ASSERTIONS", "1"))
    headers = [h.as_posix() for h in Path("sgdest/_core").glob("*.h")]
    return [
        Extension(
            f"sgdest._core.{source.stem}",
            [source.as_posix()],
            include_dirs=[numpy.get_include(), "sgdest/_core"],
            define_macros=macros,
            depends=headers,
        )
        for source in sorted(Path("sgdest/_core").glob("*.pyx"))
    ]


directives = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}

setup(
    ext_modules=cythonize(
        extensions(), compiler_directives=directives, nthreads=os.cpu_count() or 1
    ),
    cmdclass={"build_ext": BuildExtensions},
)
