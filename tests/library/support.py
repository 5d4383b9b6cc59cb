"""What several tests of the library need: the folder of the small project, and keys that sign."""

import shutil
import subprocess
from pathlib import Path

TEMPLATE = next(Path(__file__).parents[2].glob("{{*"))
ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "packages/modelyard"
PROJECT = Path(__file__).with_name("project")


class Key:
    """A key of a test's own: it signs bytes, and has the command for params.yaml that finds models signed by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "key.pem")
        self.openssl("ec", "-in", "key.pem", "-pubout", "-out", "key.pub")
        files = ["-verify", str(folder / "key.pub"), "-signature", str(folder / "{digest}.sig")]
        self.command = ["openssl", "dgst", "-sha256", *files, "{model}"]

    def openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def sign(self, content: bytes, name: str) -> None:
        """Leave the signature of some bytes under a name."""
        (self.folder / "content").write_bytes(content)
        self.openssl("dgst", "-sha256", "-sign", "key.pem", "-out", f"{name}.sig", "content")

    def forge(self, how: str, content: bytes, name: str, other: "Key") -> None:
        """Leave under a name what is no signature of these bytes by this key."""
        signer, signed = (other, content) if how == "by another key" else (self, b"another model")
        if how != "missing":
            signer.sign(signed, name)
            shutil.copy(signer.folder / f"{name}.sig", self.folder / f"{name}.sig.copy")
            (self.folder / f"{name}.sig.copy").replace(self.folder / f"{name}.sig")


FORGED = ("by another key", "of another file", "missing")
