"""What binds a store to the model that made it."""

from __future__ import annotations

from plait.model import Plait
from plait.scoring import stored_role
from plait.store import Fingerprint


def fingerprint(model: Plait, codec: str) -> Fingerprint:
    """What a store of this model's known states is bound to."""
    known = stored_role(model)
    names = model.needs(known)
    shape = model.encoder.family.shape
    hashed = model.fingerprint
    begins = model.text.begins(known)
    read = [*([f"positions={begins}"] if begins else []), *(["single"] if model.text.single else [])]
    return Fingerprint(
        model=hashed["model"],
        tokenizer=hashed["tokenizer"],
        plan=",".join([*names, *read]),
        codec=codec,
        tensors=tuple((name, shape.width(name)) for name in names),
    )
