"""Fixtures that several test files share."""

import os
import signal

import pytest
import torch
from facenet_pytorch import InceptionResnetV1

from emotion.paths import HOME
from tests.media import portrait

# what tests start finds the package as well
os.environ["PYTHONPATH"] = str(HOME / "src")
os.environ["OMP_NUM_THREADS"] = "1"  # several tests run side by side
torch.set_num_threads(1)
# A shell's background jobs start with Ctrl-C ignored; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def vggface_weights(tmp_path_factory):
    """A file as the published one: drawn weights, with a head (``logits.*``).

    Its batch norms have seen a few pictures, so that its answers depend on its input.
    """
    torch.manual_seed(0)
    network = InceptionResnetV1(classify=True, num_classes=10)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    face = torch.tensor(portrait(188)[:160, :160])
    pictures = torch.stack([face, face.flip(1), 255 - face]).permute(0, 3, 1, 2)
    with torch.no_grad():
        network.train()((pictures - 127.5) / 128)
    path = tmp_path_factory.mktemp("vggface") / "vggface2.pt"
    torch.save(network.state_dict(), path)
    return path
