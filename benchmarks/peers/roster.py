"""Who races: for each the script of its worker, what its environment holds, and options of the worker."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.peers.install import Needs


@dataclass(frozen=True)
class Peer:
    """One line of the table."""

    script: str
    """module in this folder"""
    environment: str
    """folder of its environment; several peers may share one"""
    needs: Needs
    options: dict[str, str] = field(default_factory=dict)
    patience_seconds: float = 900.0
    """longest time for one answer, and for the start"""


OPENNMT = Needs(
    plain=("ConfigArgParse==1.9.0", "pyonmttok==1.38.1", "PyYAML==6.0.3", "regex==2026.11.15", "six==1.17.0"),
    bare=("OpenNMT-py==3.5.1",),  # declares torch < 2.3, and spaCy, Flask, TensorBoard besides
)
FAIRSEQ = Needs(
    plain=(
        *("bitarray==3.12.3", "cffi==2.1.1", "cython==3.3.1", "hydra-core==1.3.2", "omegaconf==2.3.0"),
        *("packaging==26.3", "regex==2026.11.15", "sacrebleu==2.6.0", "setuptools==80.10.2", "tqdm==4.70.1"),
        "wheel==0.48.0",
    ),
    bare=("fairseq-fixed==0.12.3.1",),  # its own build fetches torch for a GPU
    build=True,
    environment=("READTHEDOCS",),  # no compiled parts: they are for its data format and for other models
)
JOEYNMT = Needs(plain=("importlib-metadata==10.2.0", "packaging==26.3", "PyYAML==6.0.3"), bare=("joeynmt==2.3.0",))
YOYODYNE = Needs(
    plain=("jsonargparse[signatures]==4.53.0", "lightning==2.6.6", "omegaconf==2.3.0", "PyYAML==6.0.3", "rich==15.0.0"),
    bare=("yoyodyne==0.5.27",),  # declares torchaudio and torchvision, and uses neither
)

EOLE = Needs(
    plain=("pydantic==2.14.3", "pyonmttok==1.38.1", "PyYAML==6.0.3", "regex==2026.11.15", "safetensors==0.8.0"),
    bare=("eole==0.6.4",),  # declares servers, spaCy, sentence embeddings and codecs besides
)
KERAS = Needs(plain=("keras==3.15.1",))

PEERS = {
    "opennmt-general": Peer("opennmt", "opennmt", OPENNMT, {"attention": "general"}),
    "opennmt-mlp": Peer("opennmt", "opennmt", OPENNMT, {"attention": "mlp"}),
    "fairseq": Peer("fairseq", "fairseq", FAIRSEQ),
    "joeynmt": Peer("joeynmt", "joeynmt", JOEYNMT),
    "yoyodyne": Peer("yoyodyne", "yoyodyne", YOYODYNE),
    "eole": Peer("eole", "eole", EOLE),
    "keras": Peer("keras", "keras", KERAS),
    "tutorial": Peer("tutorial", "torch", Needs()),
}
