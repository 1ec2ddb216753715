"""What binds a store to the model that made it."""

from __future__ import annotations

import torch

from plait.errors import PlaitError
from plait.machine import to_device
from plait.model import Plait
from plait.plan import Plan
from plait.scoring import stored_role
from plait.settings import Settings
from plait.store import Fingerprint


def model_of(settings: Settings, folder: str = "", device: torch.device | str = "cpu") -> Plait:
    """The model that an index was made with, with the plans and the dtype of then: from where it was, or a folder or
    hub id where it is now. Whether it is that model, its fingerprint says.

    Raises:
        PlaitError: no model is there, or one that cannot have these plans.
    """
    plans = {head: Plan.parse(text) for head, text in settings.plans.items()}  # not the checkpoint's
    heads = tuple(settings.plans)  # others of the checkpoint would need what is not stored
    where, device = folder or settings.model, to_device(device)
    try:
        return Plait.from_pretrained(where, plan=plans, dtype=settings.dtype, device=device, heads=heads)
    except PlaitError as error:
        raise PlaitError(
            f"an index is opened with the model that made it, but {where!r} is not that ({error}); name the folder "
            "where it is with --model, or pass it to Index.open"
        ) from error


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
