"""Pages taken apart into fenced blocks, and the folder in which a page's blocks are run one after another.

What a block's first line says behind the language:

* a file's name (`receiver.toml`, `.env`, `payments.py`): the block is written there; settings and programs are tried.
* `bash`: run in the page's folder. `bash again`: until it prints what the page says, for what it tells of is a moment
  behind. `bash background` stays up while the rest of the page is run, until the next one;
  `bash background beside` leaves the one before it up too. `bash dry-run`: `make` must know the target, no more.
  `bash no-run …`: not run, and the rest says why.
* `text output`: what the block before it prints, in this order; `…` stands for anything, lines may be left out.
* `python`: run, in the same module as the page's other such blocks. `toml`: read as settings, keys and all.
* `sql`: run as the owner of the database that the page calls `shop`.
"""

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from receiver.embedded import discard, find_running
from receiver.settings import made
from receiver.sources import build_sources, made_up

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SECONDS = 60.0
FENCE = re.compile(r"^( *)```(.*?)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
DATABASE, REDIS = "postgresql://shop:secret@db:5432/shop", "redis://cache:6379/0"
APP_ROLE, APP_DATABASE = "shop_app", "postgresql://shop_app:secret@db:5432/shop"
"""As they are written in the pages."""


DROP_ROLE = f"""
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}') THEN
        DROP OWNED BY {APP_ROLE};
        DROP ROLE {APP_ROLE};
    END IF;
END $$
"""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        language, *words = match[2].split() or [""]
        body = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
        found.append(
            Block(language=language, words=tuple(words), text=body, line=text.count("\n", 0, match.start()) + 1)
        )
    return found


@dataclass
class Workshop:
    """A folder, the environment of its programs, and what runs there."""

    folder: Path
    env: dict[str, str]
    places: dict[str, str]
    """What stands in the pages, and what it is here: ports, URLs."""
    output: Callable[[], str] = field(default=lambda: "")
    growing: bool = False
    """The output is that of a program that runs, or tells of one."""
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    module: dict[str, object] = field(default_factory=lambda: {"__name__": "page"})

    def use(self, block: Block) -> None:
        """Run, write or check one block."""
        if "no-run" in block.words:
            assert len(block.words) > 3, "say why it is not run"
        elif block.language == "text" and block.words == ("output",):
            self._expect(self._here(block.text))
        elif block.language == "bash":
            self._bash(block)
        elif block.language == "sql":
            execute(self.places[DATABASE], block.text)
        elif block.words:
            self._write(block)
        elif block.language == "python":
            exec(compile(block.text, "page", "exec"), self.module)
        elif block.language == "toml":
            check_settings(block.text, self.folder)

    def close(self, *, all_of_them: bool = True) -> None:
        """End what runs."""
        for program in self.programs:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGTERM)
        for program in self.programs:
            program.wait(SECONDS)
        self.programs.clear()
        if all_of_them:
            discard(self.folder / ".receiver")

    def _here(self, text: str) -> str:
        for there, here in self.places.items():
            text = text.replace(there, here)
        return text

    def _write(self, block: Block) -> None:
        path = self.folder / block.words[0]
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(self._here(block.text))
        if path.suffix == ".py":
            exec(compile(block.text, str(path), "exec"), {"__name__": path.stem})
        elif path.name == "receiver.toml":
            check_settings(block.text, self.folder)

    def _bash(self, block: Block) -> None:
        if "dry-run" in block.words:
            for line in block.text.splitlines():
                subprocess.run([*shlex.split(line, comments=True), "--dry-run"], cwd=ROOT, check=True, env=self.env)
        elif "background" in block.words:
            if "beside" not in block.words:
                self.close(all_of_them=False)
            self._start(block)
        elif "again" in block.words:
            script = self._here(block.text)
            self.output, self.growing = (lambda: self._run(script)), True
        else:
            said = self._run(self._here(block.text))
            self.output, self.growing = (lambda: said), False

    def _run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
        said = done.stdout.decode()
        assert done.returncode == 0, f"{script}\nexit code {done.returncode}\n{said}"
        return said

    def _start(self, block: Block) -> None:
        log = self.folder / f"program-{block.line}.log"
        with log.open("wb") as stream:
            self.programs.append(
                subprocess.Popen(
                    ["bash", "-c", "exec " + self._here(block.text)],
                    cwd=self.folder,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        self.output, self.growing = log.read_text, True

    def _expect(self, text: str) -> None:
        """Wait until all of it was printed; what does not run any more has printed all it had to say."""
        deadline = time.monotonic() + SECONDS
        while (missing := unmet(text, said := self.output())) is not None:
            alive = self.growing and self.programs[-1].poll() is None
            assert alive, f"not printed: {missing}\n\n{said}"
            assert time.monotonic() < deadline, f"not printed in time: {missing}\n\n{said}"
            time.sleep(0.05)


def unmet(expected: str, printed: str) -> str | None:
    """The first line of `expected` that is not in `printed` behind the lines before it."""
    lines = iter(_plain(line) for line in printed.splitlines())
    for line in filter(None, map(_plain, expected.splitlines())):
        pattern = ".*".join(re.escape(part.strip()) for part in line.split("…"))
        if line != "…" and not any(re.fullmatch(pattern, found) for found in lines):
            return line
    return None


def _plain(line: str) -> str:
    return " ".join(line.split())


def check_settings(text: str, folder: Path) -> None:
    """Read `text` as a settings file; `folder` and the environment hold its keys. SettingsError if it is wrong."""
    build_sources(made(**tomllib.loads(text)), folder)


def execute(url: str, sql: str) -> None:
    """Run statements as the owner of the database."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(run())


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def write_keys(folder: Path) -> None:
    """Made-up keys under the names that the pages use."""
    folder.mkdir()
    alipay, wechat = made_up("alipay"), made_up("wechatpay")
    for name, values in {"alipay": alipay["public_key"], "wechatpay": wechat["certificates"]}.items():
        assert isinstance(values, list)
        (folder / f"{name}.pem").write_text(values[0])
        (folder / f"{name}-new.pem").write_text(values[0])
    assert isinstance(alipay["public_key"], list)
    unionpay = made_up("unionpay")
    for name, setting in {"root": "roots", "middle": "intermediates"}.items():
        values = unionpay[setting]
        assert isinstance(values, list)
        (folder / f"acp_prod_{name}.cer").write_text(values[0])
    (folder / "wechatpay-public.pem").write_text(alipay["public_key"][0])


def forget_modules(folder: Path) -> None:
    """Let programs below `folder` be imported anew, or others of their names."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def workshop(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    empty_database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workshop]:
    """A folder with keys, free ports, and a database of its own in place of the one that the pages name."""
    forget_modules(tmp_path_factory.getbasetemp())
    public, operator, second = free_port(), free_port(), free_port()
    env = {
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "RECEIVER_PORT": public,
        "RECEIVER_OPERATOR_PORT": operator,
    }
    secrets = {
        "STRIPE_SECRET": "whsec_new",
        "STRIPE_SECRET_OLD": "whsec_old",
        "WEBHOOKS_SECRET": "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQ=",
        "WECHATPAY_API_V3_KEY": "0123456789abcdef0123456789abcdef",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    write_keys(tmp_path / "keys")
    places = {
        "make demo": f"receiver demo --port {public} --operator-port {operator}",
        DATABASE: empty_database_url,
        DATABASE.replace("postgresql", "postgresql+asyncpg"): empty_database_url.replace(
            "postgresql", "postgresql+asyncpg"
        ),
        APP_DATABASE: make_url(empty_database_url)
        .set(username=APP_ROLE, password="secret")
        .render_as_string(hide_password=False),
        REDIS: redis_url,
        ":8000": f":{public}",
        ":8001": f":{operator}",
        "8002": second,
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made = Workshop(folder=tmp_path, env=env, places=places)
    yield made
    made.close()
    execute(empty_database_url, DROP_ROLE)
    assert find_running(tmp_path / ".receiver") is None
    forget_modules(tmp_path)


@pytest.fixture(name="parts")
def _parts() -> Callable[[Path], list[Block]]:
    return blocks


@pytest.fixture(name="unmet")
def _unmet() -> Callable[[str, str], str | None]:
    return unmet
