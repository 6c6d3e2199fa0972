"""What `make release` built, as who installs it finds it: each package in a clean environment, at work.

    python -m acceptance.packages [DIST]

The service from its wheel, with the dependencies of requirements.lock: its command, a Chat of its own and an answer of
its admin port. The client from its wheel, alone, with what its dependencies bring: the example and the README's lines
against that service. Both in one environment. The sdists, the descriptor set, the protos, the SBOM and the checksums.

Rule: it installs, starts programs and compares what they print; nothing of the checkout is imported by them. Packages
come from the index that pip is set up with. Exit code 1: one check failed.
"""

import asyncio
import hashlib
import json
import re
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool
from packaging.utils import canonicalize_name

from acceptance.live.children import ChildError, complete, running
from bench.processes import free_port
from scripts.release import CHECKSUMS, version

ROOT = Path(__file__).parent.parent
_START_SECONDS = 60.0
# The modules of the checkout must not be found.
_CLEAN = {"PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}
_SHARED = ("integration_api/__init__.py", "integration_api/client/", "integration_api/v1/", "integration_api/py.typed")
_NOT_LISTED = ("pip", "setuptools", "integration-api")  # what installs, and what the SBOM is about
_README_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


class WrongError(Exception):
    """What was built is not as it should be; the text says what."""


@dataclass(frozen=True)
class Built:
    """What was built, where it is tried out, and the service that runs while it is."""

    dist: Path
    scratch: Path
    port: int
    sandbox: int
    admin: int

    @cached_property
    def version(self) -> str:
        """The version that everything should have."""
        return version()

    def file(self, name: str) -> Path:
        """A file of dist/, `VERSION` filled in."""
        return self.dist / name.replace("VERSION", self.version)

    def program(self, environment: str, name: str) -> Path:
        """A program of an environment."""
        return self.scratch / environment / "bin" / name

    async def environment(self, name: str, *installs: Sequence[str | Path]) -> None:
        """Make an environment, and install into it step by step."""
        await self.run(sys.executable, "-m", "venv", self.scratch / name)
        for arguments in installs:
            await self.run(self.program(name, "pip"), "install", "--quiet", *arguments)

    async def run(self, *command: str | Path) -> str:
        """What a program prints.

        Raises:
            ChildError: it failed.
        """
        log = self.scratch / "logs" / f"{time.monotonic_ns()}.log"
        return await complete(Path(command[0]).name, command, log, _CLEAN, self.scratch)


def _expect(condition: object, text: str) -> None:
    if not condition:
        raise WrongError(text)


async def checksums(built: Built) -> None:
    """Every file is listed with its digest."""
    listed = dict(line.split("  ")[::-1] for line in built.file(CHECKSUMS).read_text("utf-8").splitlines())
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in built.dist.iterdir()
        if path.name != CHECKSUMS
    }
    _expect(listed == found, f"listed {sorted(listed)}, found {sorted(found)}")


async def service(built: Built) -> None:
    """From its wheel: its command, and a Chat with the sandbox."""
    command = built.program("service", "integration-api")
    _expect("serve" in await built.run(command, "--help"), "--help does not name serve")
    printed = await built.run(command, "--version")
    _expect(printed == f"integration-api, version {built.version}\n", f"--version says {printed!r}")
    address, base_url = f"127.0.0.1:{built.port}", f"http://127.0.0.1:{built.sandbox}/v1"
    asked = ("--base-url", base_url, "--model", "tokens:n=5,text=tick", "hi")
    answer = await built.run(command, "chat", "--address", address, *asked)
    _expect(answer.startswith("tick tick tick tick tick\n"), f"five tokens were expected: {answer!r}")
    url = f"http://127.0.0.1:{built.admin}/version"
    told = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
    _expect(json.loads(told) == {"version": built.version}, f"/version says {told!r}")


async def client(built: Built) -> None:
    """From its wheel, alone: the example and the README's lines, and nothing of the service is there."""
    await built.environment("client", [built.file("integration_api_client-VERSION-py3-none-any.whl")])
    python = built.program("client", "python")
    await built.run(built.program("client", "pip"), "check")
    listed = json.loads(await built.run(built.program("client", "pip"), "list", "--format", "json"))
    there = {package["name"] for package in listed} - {"pip", "setuptools"}
    needed = {"integration-api-client", "grpcio", "protobuf", "googleapis-common-protos", "typing_extensions"}
    _expect(there <= needed, f"more is installed than is needed: {sorted(there - needed)}")
    address, base_url = f"127.0.0.1:{built.port}", f"http://127.0.0.1:{built.sandbox}/v1"
    example = (ROOT / "examples" / "python" / "client.py", "--address", address, "--base-url", base_url)
    printed = await built.run(python, *example)
    _expect("answer: hello from python" in printed and "fault: client" in printed, f"the example printed {printed!r}")
    (code,) = _README_CODE.findall((ROOT / "clients" / "python" / "README.md").read_text("utf-8"))
    for ours, here in (("127.0.0.1:9004", address), ("http://localhost:11434/v1", base_url), ("llama3.1", "echo")):
        _expect(ours in code, f"the README no longer has {ours}")
        code = code.replace(ours, here)
    printed = await built.run(python, "-c", code)
    _expect(printed == "Say hello", f"the README's lines printed {printed!r}")
    beside = "import importlib.util as u; print(*(n for n in ('caller', 'integration_api.server') if u.find_spec(n)))"
    _expect(not (await built.run(python, "-c", beside)).strip(), "the client's wheel has modules of the service")


async def both(built: Built) -> None:
    """The client's wheel over the service's changes no file, and the service still answers."""
    wheels = {
        name: zipfile.ZipFile(built.file(f"{name}-VERSION-py3-none-any.whl"))
        for name in ("integration_api", "integration_api_client")
    }
    contents = {
        name: {file: wheel.read(file) for file in wheel.namelist() if file.startswith(_SHARED)}
        for name, wheel in wheels.items()
    }
    _expect(contents["integration_api"] == contents["integration_api_client"], "the wheels' common files differ")
    pip, wheel = built.program("service", "pip"), built.file("integration_api_client-VERSION-py3-none-any.whl")
    await built.run(pip, "install", "--quiet", "--no-index", wheel)
    await built.run(pip, "check")
    await service(built)


async def sdists(built: Built) -> None:
    """Both install, and say their version."""
    for name, module in (
        ("integration_api", "integration_api.cli"),
        ("integration_api_client", "integration_api.client"),
    ):
        sdist = built.file(f"{name}-VERSION.tar.gz")
        pip = built.program("service", "pip")
        await built.run(pip, "install", "--quiet", "--no-deps", "--force-reinstall", sdist)
        asking = f"import {module}, importlib.metadata as m; print(m.version({name!r}), {module}.__file__)"
        printed = await built.run(built.program("service", "python"), "-c", asking)
        expected = f"{built.version} {built.scratch}"
        _expect(printed.startswith(expected), f"{sdist.name}: {printed!r}")


async def descriptors(built: Built) -> None:
    """The descriptor set is whole: it builds a pool of its own, with the service's calls and their comments."""
    files = descriptor_pb2.FileDescriptorSet.FromString(built.file("integration_api-VERSION.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    methods = pool.FindServiceByName("integration_api.v1.ChatService").methods_by_name
    _expect({"Chat", "StreamChat"} <= set(methods), f"it has only {sorted(methods)}")
    (own,) = (file for file in files.file if file.name == "integration_api/v1/chat_service.proto")
    _expect(any(place.leading_comments for place in own.source_code_info.location), "the comments are missing")


async def protos(built: Built) -> None:
    """The protos compile where nothing else is."""
    with tarfile.open(built.file("integration_api-protos-VERSION.tar.gz")) as tar:
        tar.extractall(built.scratch / "protos", filter="data")
    (top,) = (built.scratch / "protos").iterdir()
    _expect((top / "protos" / "README.md").exists(), "they have no README")
    include = top / "protos"
    files = sorted((include / "integration_api" / "v1").glob("*.proto"))
    protoc = (ROOT / ".venv-proto" / "bin" / "python", "-m", "grpc_tools.protoc", f"-I{include}")
    await built.run(*protoc, f"--descriptor_set_out={built.scratch / 'compiled'}", *files)


async def sbom(built: Built) -> None:
    """It lists what the environment has that was installed from the lock, no more and no less."""
    document = json.loads(built.file("integration_api-VERSION.cdx.json").read_text("utf-8"))
    own = document["metadata"]["component"]
    _expect((own["name"], own["version"]) == ("integration-api", built.version), f"it is about {own}")
    frozen = await built.run(built.program("service", "pip"), "freeze", "--all")
    there = dict(line.split("==") for line in frozen.splitlines() if "==" in line)
    installed = {(canonicalize_name(name), number) for name, number in there.items()}
    listed = {(canonicalize_name(part["name"]), part["version"]) for part in document["components"]}
    missing = {each for each in installed if each[0] not in _NOT_LISTED} ^ listed
    _expect(not missing, f"listed or installed, not both: {sorted(missing)}")


CHECKS: dict[str, Callable[[Built], Awaitable[None]]] = {
    check.__name__: check for check in (checksums, service, sbom, client, both, sdists, descriptors, protos)
}


async def main(dist: Path) -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory(prefix="packages-") as scratch:
        built = Built(dist, Path(scratch), free_port(), free_port(), free_port())
        locked = ("--require-hashes", "--requirement", ROOT / "requirements.lock")
        wheel = ("--no-deps", "--no-index", "--find-links", built.dist, "integration-api")
        await built.environment("service", locked, wheel)
        program = built.program("service", "integration-api")
        ports = ("--port", built.port, "--sandbox-port", built.sandbox, "--admin-port", built.admin)
        serve: list[str | Path] = [program, "serve", "--sandbox", *map(str, ports)]

        async def ready() -> bool:
            try:
                await built.run(program, "health", "--address", f"127.0.0.1:{built.port}")
            except ChildError:
                return False
            return True

        failed = 0
        log = Path(scratch) / "logs" / "serve.log"
        async with running("serve", serve, log, ready=ready, within=_START_SECONDS, env=_CLEAN, cwd=Path(scratch)):
            for name, check in CHECKS.items():
                began, fault = time.monotonic(), ""
                try:
                    await check(built)
                except (WrongError, ChildError) as error:
                    fault = str(error)
                failed += bool(fault)
                print(f"{'FAIL' if fault else 'PASS'} {name:12} {time.monotonic() - began:5.1f} s  {fault}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist").resolve())))
