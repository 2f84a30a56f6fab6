"""InstalledAsset and LoadedImage: content-addressed bytes that the manifest names by sha256."""

from dataclasses import dataclass

from units.files import digest
from units.host import FileState, Host
from units.manifest import Asset, Image
from units.resource import Change, Description


@dataclass(frozen=True, slots=True)
class InstalledAsset:
    """A binary at its path, byte for byte what was signed; re-hashed at every boot."""

    asset: Asset

    @property
    def key(self) -> str:
        return f"asset:{self.asset.path}"

    def check(self, host: Host) -> Change | None:
        state = host.files.read(self.asset.path)
        if state is None or self._digest(host, state) != self.asset.sha256:
            return Change(f"install sha256:{self.asset.sha256[:12]} ({self.asset.size} bytes)")
        if (state.mode, state.owner, state.group) != (self.asset.mode, "root", "root"):
            return Change(f"attributes of {state.owner}:{state.group} {state.mode:04o}")
        return None

    def apply(self, host: Host) -> None:
        source = host.assets.obtain(self.asset.sha256, self.asset.size)
        host.files.install(source, self.asset.path, mode=self.asset.mode)

    def describe(self) -> Description:
        return Description(self.key, (f"sha256:{self.asset.sha256}", f"mode {self.asset.mode:04o}"))

    def _digest(self, host: Host, state: FileState) -> str | None:
        """Without reading a small file twice; a large one has no content in its state."""
        return host.files.digest(self.asset.path) if state.content is None else digest(state.content)


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image archive in containerd, since this boot or since the image was baked.

    containerd knows it by a digest of its own, and the manifest names the archive's: whoever loads an image writes down
    which target came of which archive (`units.host.HeldImage`). A tag alone can lie.
    """

    image: Image

    @property
    def key(self) -> str:
        return f"image:{self.image.reference}"

    def check(self, host: Host) -> Change | None:
        held = host.images.held(self.image.reference)
        if held is None:
            return Change(f"load sha256:{self.image.sha256[:12]}")
        if held.archive != self.image.sha256:
            return Change(f"load again: {held.target[:19]} does not come from sha256:{self.image.sha256[:12]}")
        return None

    def apply(self, host: Host) -> None:
        archive = host.assets.obtain(self.image.sha256, self.image.size)
        host.images.load(archive, self.image.sha256, self.image.reference)

    def describe(self) -> Description:
        return Description(self.key, (f"archive sha256:{self.image.sha256}",))
