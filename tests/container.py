#!/usr/bin/env python3
"""Builds the light image and tries it: it speaks offline without rights, its server answers its health check, its size.

    python3 tests/container.py [Dockerfile] [--base FOLDER] [--keep]

With docker or podman these do it. Where there is none, but root, debootstrap and chroot are (apt-get install
debootstrap), the same file is carried out step by step in a bare Debian of this machine's mirror, without what the
official slim images leave out; which of the two it was is said. Fails where the image is over 500 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST = 500  # MB
SAY = ["say", "Hello there.", "-o", "-", "-q"]
# what Debian's slim images leave out
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
CERTIFICATES = Path(os.environ.get("PIP_CERT", "/nowhere"))  # of this machine's network; not left in the image
MIRROR = "http://deb.debian.org/debian"


@dataclass
class Stage:
    """One FROM of a Dockerfile, with what its lines have set."""

    image: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages(dockerfile: str) -> list[Stage]:
    """The stages of a Dockerfile; each step is (INSTRUCTION, rest)."""
    found: list[Stage] = []
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            image, _, name = rest.partition(" AS ")
            found.append(Stage(image.strip(), name.strip()))
        else:
            found[-1].steps.append((instruction, rest.strip()))
    return found


class Image:
    """A folder that stands for an image while it is built."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user, self.where = folder, "root", "/"
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.entry: list[str] = []
        self.command: list[str] = []
        self.health: list[str] = []

    def call(self, words: list[str], building: bool = False) -> list[str]:
        """The words that run a command inside, without anything of this machine's environment."""
        env = self.env | {"HOME": "/root" if self.user == "root" else f"/home/{self.user}"}
        if building:
            env |= {"DEBIAN_FRONTEND": "noninteractive"}
            env |= {"PIP_CERT": "/etc/certificates.crt"} if CERTIFICATES.is_file() else {}
        cd = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', self.where]
        chroot = ["chroot", f"--userspec={self.user}:{self.user}", str(self.folder)]
        return [*chroot, "/usr/bin/env", "-i", *(f"{k}={v}" for k, v in env.items()), *cd, *words]

    def carry_out(self, instruction: str, rest: str, others: dict[str, Image]) -> None:
        """One step of a Dockerfile."""
        if instruction == "RUN":
            with mounted(self.folder):
                subprocess.run(self.call(["/bin/sh", "-c", rest], building=True), check=True, stdout=subprocess.DEVNULL)
        elif instruction == "COPY":
            *sources, target = shlex.split(rest)
            home = ROOT
            if sources[0].startswith("--from="):
                home = others[sources.pop(0).removeprefix("--from=")].folder
            for source in sources:
                copy(home / source.lstrip("/"), self.folder / target.lstrip("/"), target.endswith("/"))
        elif instruction == "ENV":
            for name, value in (word.split("=", 1) for word in shlex.split(rest)):
                self.env[name] = re.sub(r"\$(\w+)", lambda found: self.env.get(found[1], ""), value)
        elif instruction == "USER":
            self.user = rest
        elif instruction == "WORKDIR":
            self.where = rest
        elif instruction == "ENTRYPOINT":
            self.entry = json.loads(rest)
        elif instruction == "CMD":
            self.command = json.loads(rest)
        elif instruction == "HEALTHCHECK":
            self.health = json.loads(rest[rest.index("CMD") + 3 :])
        elif instruction != "EXPOSE":
            raise SystemExit(f"error: this script does not know the instruction {instruction}")


def copy(source: Path, target: Path, into: bool) -> None:
    """As COPY does: the contents of a folder, or a file into one."""
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=ignore)
    else:
        place = target / source.name if into else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, place)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """/proc, names of hosts and certificates, as long as something is built or run in there."""
    lent = {folder / "etc/resolv.conf": Path("/etc/resolv.conf"), folder / "etc/certificates.crt": CERTIFICATES}
    subprocess.run(["mount", "-t", "proc", "proc", folder / "proc"], check=True)
    for place, source in lent.items():
        if source.is_file():
            shutil.copy(source, place)
    try:
        yield
    finally:
        subprocess.run(["umount", folder / "proc"], check=True)
        for place in lent:
            place.unlink(missing_ok=True)


def base_image(image: str, folder: Path) -> Path:
    """A bare Debian of the release that the image names, made once."""
    if not (folder / "etc/debian_version").exists():
        release = image.removeprefix("debian:").removesuffix("-slim")
        subprocess.run(["debootstrap", "--variant=minbase", release, folder, MIRROR], check=True, stdout=sys.stderr)
        shutil.rmtree(folder / "var/cache/apt/archives", ignore_errors=True)
        shutil.rmtree(folder / "var/lib/apt/lists", ignore_errors=True)
        rules = [f"path-exclude /{place}/*" for place in LEFT_OUT]
        (folder / "etc/dpkg/dpkg.cfg.d/slim").write_text("\n".join(rules) + "\n")
        (folder / "etc/apt/apt.conf.d/slim").write_text('DPkg::Post-Invoke {"rm -f /var/cache/apt/archives/*.deb";};\n')
        for place in LEFT_OUT:
            shutil.rmtree(folder / place, ignore_errors=True)
    return folder


def size(folder: Path) -> float:
    """MB of what lies in a folder, every file once."""
    told = subprocess.run(["du", "-s", "-B1", "--apparent-size", "-x", folder], capture_output=True, check=True)
    return int(told.stdout.split()[0]) / 1e6


def loopback_up() -> None:
    """In a network of its own a program first has to switch on its way to itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS: up, running


def by_hand(dockerfile: Path, base: Path, work: Path) -> float:
    """Build in folders and try the last stage without a network; its size in MB."""
    built: dict[str, Image] = {}
    image = Image(work)
    for number, stage in enumerate(stages(dockerfile.read_text("utf-8"))):
        image = Image(work / f"stage{number}")
        subprocess.run(["cp", "-a", base_image(stage.image, base), image.folder], check=True)
        for step in stage.steps:
            print(f"  {step[0]} {step[1][:100]}", flush=True)
            image.carry_out(*step, built)
        built[stage.name or str(number)] = image
    megabytes = size(image.folder)
    alone = ["unshare", "--net", sys.executable, str(Path(__file__).resolve()), "--in-network"]
    with mounted(image.folder):
        said = subprocess.run([*alone, *image.call([*image.entry, *SAY])], capture_output=True)
        heard(said)
        server = subprocess.Popen([*alone, *image.call([*image.entry, *image.command])])
        try:
            check = ["nsenter", "--net", f"--target={server.pid}", *image.call(image.health)]
            healthy(server, check)
            id_told = subprocess.run(image.call(["id", "-u"]), capture_output=True, text=True, check=True).stdout
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(30)
    if id_told.strip() == "0" or code not in (0, 143):
        raise SystemExit(f"error: it runs as user {id_told.strip()}; SIGTERM ended it with code {code}")
    print(f"the server is healthy as user {id_told.strip()} and ends with code {code}")
    return megabytes


def by_tool(tool: str, dockerfile: Path) -> float:
    """The same by docker or podman."""
    name = "tts-fm-check"
    subprocess.run([tool, "build", "-q", "-t", name, "-f", dockerfile, ROOT], check=True)
    run = [tool, "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--tmpfs=/home/speaker:mode=777"]
    heard(subprocess.run([*run, name, *SAY], capture_output=True))
    started = subprocess.run([tool, "run", "-d", "--rm", name], capture_output=True, text=True, check=True)
    box = started.stdout.strip()
    health = next(s for i, s in stages(dockerfile.read_text("utf-8"))[-1].steps if i == "HEALTHCHECK")
    try:
        healthy(None, [tool, "exec", box, *json.loads(health[health.index("CMD") + 3 :])])
        told = subprocess.run([tool, "exec", box, "id", "-u"], capture_output=True, text=True, check=True).stdout
    finally:
        subprocess.run([tool, "stop", box], stdout=subprocess.DEVNULL)
    if told.strip() == "0":
        raise SystemExit("error: it runs as root")
    shown = subprocess.run([tool, "image", "inspect", "-f", "{{.Size}}", name], capture_output=True, check=True)
    return int(shown.stdout) / 1e6


def heard(said: subprocess.CompletedProcess[bytes]) -> None:
    """SystemExit unless a WAV came out."""
    if said.returncode or said.stdout[:4] != b"RIFF" or len(said.stdout) < 20_000:
        raise SystemExit(f"error: it does not speak (code {said.returncode}): {said.stderr.decode(errors='replace')}")
    print(f"it speaks without a network: {len(said.stdout) / 48_000:.1f} s of WAV")


def healthy(server: subprocess.Popen[bytes] | None, check: list[str]) -> None:
    """SystemExit unless the health check passes within a minute."""
    for _ in range(120):
        if server is not None and server.poll() is not None:
            raise SystemExit(f"error: the server ended with code {server.returncode}")
        if subprocess.run(check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.5)
    raise SystemExit("error: the health check does not pass")


def main() -> None:
    if sys.argv[1:2] == ["--in-network"]:
        loopback_up()
        os.execvp(sys.argv[2], sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dockerfile", nargs="?", type=Path, default=ROOT / "Dockerfile")
    parser.add_argument("--base", type=Path, help="keep the bare Debian here, for the next time")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the stages")
    args = parser.parse_args()
    for tool in ("docker", "podman"):
        if shutil.which(tool) and subprocess.run([tool, "info"], capture_output=True).returncode == 0:
            megabytes, how = by_tool(tool, args.dockerfile), f"by {tool}"
            break
    else:
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise SystemExit("error: neither docker nor podman runs here; as root, apt-get install debootstrap will do")
        work = Path(tempfile.mkdtemp(prefix="container"))
        how = "no container tool runs here: the steps of the file were carried out in a bare Debian by chroot"
        try:
            megabytes = by_hand(args.dockerfile, args.base or work / "base", work)
        finally:
            if not args.keep:
                shutil.rmtree(work, ignore_errors=True)
    print(f"{args.dockerfile.name}: {megabytes:.0f} MB ({how})")
    if megabytes > MOST and args.dockerfile.name == "Dockerfile":
        raise SystemExit(f"error: more than {MOST} MB")


if __name__ == "__main__":
    main()
