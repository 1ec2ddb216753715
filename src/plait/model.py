"""Plait: a pair model whose known side can be computed once. Names and return shapes as in sentence-transformers'
CrossEncoder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait import checkpoint, hashes, hub
from plait.bottleneck import Bottleneck
from plait.checkpoint import Checkpoint
from plait.encoder import CACHE_TOKENS, Answer, Encoder
from plait.errors import PlaitError, require_least
from plait.families import adapter
from plait.fitting import fit_plan, fitted, in_common, require_saliency
from plait.head_plans import HEADS, compared, require_meeting, require_separator
from plait.heads import default_activation, in_float32
from plait.known import Known
from plait.layout import Layout
from plait.machine import fast_dtype, keep_memory, to_device, to_dtype
from plait.parts import Encoded, Part, as_rows, encoded, predicted, ranked, tokenized, warn_cut, write_rows
from plait.plan import Plan
from plait.saliency import Saliency
from plait.saving import save
from plait.spans import SpanFound, restored, spans_found
from plait.states import States, require_name
from plait.text import Segment, Text, Tokens, require_list


class Plait(nn.Module):
    """A `transformers` encoder with its heads, run as plans say.

    Args:
        parts: what a checkpoint holds.
    """

    def __init__(self, parts: Checkpoint) -> None:
        super().__init__()
        if not isinstance(parts, Checkpoint):
            raise PlaitError(f"a Plait is made of a Checkpoint, but is given {parts!r:.60}; use Plait.from_pretrained")
        keep_memory()
        self.base: nn.Module = parts.base
        self.heads = nn.ModuleDict(parts.heads)
        self.plans: dict[str, Plan] = parts.plans
        self.no_answer = parts.no_answer
        self.card = parts.card
        self.name_or_path = ""
        self.tokenizer = parts.tokenizer
        self.config = parts.config
        self.bottlenecks, self.saliency = parts.bottlenecks, parts.saliency
        self.encoder = Encoder(
            adapter(parts.base), cast("Mapping[str, Bottleneck]", self.bottlenecks),
            cast("Mapping[str, Saliency]", self.saliency),
        )  # fmt: skip
        for head, plan in self.plans.items():
            self.require_plan(head, plan)
        roles, offset = in_common(self.plans)
        compared = {plan.compare != "none" for plan in self.plans.values()}
        single = True in compared and (compared == {True} if parts.single is None else parts.single)
        self.text = self.texts(roles, offset, single=single)
        self._reads = hashes.of_tokenizer(self.tokenizer)  # now: a call with padding=True leaves its mark
        self._hashed = self._versions(), hashes.of_weights(*self._own_parts())

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str | os.PathLike[str],
        *,
        plan: str | Plan | Mapping[str, str | Plan] | None = None,
        dtype: torch.dtype | str = "float32",
        device: str | torch.device = "cpu",
        new_heads: Sequence[str] = (),
        labels: Sequence[str] = (),
        heads: Sequence[str] = HEADS,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | None = None,
        use_safetensors: bool = True,
    ) -> Plait:
        """Load a checkpoint of `transformers` and give it a plan.

        Args:
            model_name_or_path: a local folder or a hub id; of an adapter of `peft` (LoRA) too, which is merged.
            plan: one plan for all heads, or one for each head by name (`score`, `span`), as values or in text form
                (`"score: join=4,mode=oneway; span: join=3"`); the span head has of one for all what it can, see
                `plait.head_plans`. Default: the plans the checkpoint was saved with, else the full pair model.
                Where a text does not say, positions begin as in the saved plans, else anew, a new full pair model's
                apart (`plait.fitting.begins`), and a dual encoder pools as the checkpoint does (`plait.sbert.pooling`).
            dtype: of weights and states, or `auto`: bfloat16 where that is computed faster. Scores are float32.
            device: where to run, such as `cuda:1`, or `auto`: the GPU where there is one.
            new_heads: heads to start at random where the checkpoint lacks them, for training.
            labels: names of a new score head's classes; empty for one label.
            heads: which heads to load.
            revision, local_files_only, token: as in `transformers`.
            use_safetensors: False reads pickled weights too, which can run code as they are read.

        Raises:
            PlaitError: the checkpoint cannot be read, its family is unknown, or the plan does not fit it.
        """
        if not isinstance(model_name_or_path, str | os.PathLike):
            raise PlaitError(
                f"a checkpoint is named by a folder or a hub id, but this is {model_name_or_path!r:.60}; pass one"
            )
        if unknown := {*heads, *new_heads} - {*HEADS}:
            raise PlaitError(f"heads and new_heads must be among {', '.join(HEADS)}, but have {', '.join(unknown)}")
        device = to_device(device)
        where = hub.HubOptions(revision=revision, local_files_only=local_files_only, token=token)
        parts = checkpoint.load(
            model_name_or_path, new_heads=new_heads, labels=labels, heads=heads, use_safetensors=use_safetensors,
            compare=None if plan is None or "score" not in new_heads else compared(plan) != "none", **where,
        )  # fmt: skip
        model = cls(fitted(parts, model_name_or_path, plan, heads=heads, new_heads=new_heads, where=where))
        path = Path(model_name_or_path)
        model.name_or_path = str(path.resolve()) if path.is_dir() else str(model_name_or_path)
        return model.to(device=device, dtype=to_dtype(fast_dtype(device) if dtype == "auto" else dtype)).eval()

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write an ordinary checkpoint of `transformers` whose config also holds the plans; its model card too."""
        heads = dict(self.heads.items())
        parts = Checkpoint(
            self.base, self.tokenizer, self.config, heads, self.plans, self.no_answer, self.card, self.bottlenecks,
            self.saliency, self.text.single,
        )  # fmt: skip
        save(parts, Path(save_directory))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str = "Upload a model of Plait",
    ) -> str:
        """Upload what `save_pretrained` writes to a repository of the Hugging Face hub, made if it is not there.

        Returns:
            The address of the commit.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.upload(
                folder, repo_id, private=private, token=token, revision=revision, commit_message=commit_message
            )

    @property
    def fingerprint(self) -> dict[str, str]:
        """Hashes of `model` (the encoder's weights, in the dtype of their files) and of its `tokenizer` as loaded."""
        if self._hashed[0] != self._versions():  # the weights were trained, or others loaded into them
            self._hashed = self._versions(), hashes.of_weights(*self._own_parts())
        return {"model": self._hashed[1], "tokenizer": self._reads}

    def _versions(self) -> list[tuple[int, int]]:
        """PyTorch counts the changes of every tensor; one that takes another's place is another object."""
        return [(id(p), p._version) for module in self._own_parts() for p in module.parameters()]

    def _own_parts(self) -> tuple[nn.Module, ...]:
        """What makes the states of a text under these plans."""
        used = frozenset[str]().union(*(plan.salient() for plan in self.plans.values()))
        return self.base, self.bottlenecks, nn.ModuleDict({k: v for k, v in self.saliency.items() if k in used})

    def require_plan(self, head: str, plan: Plan) -> None:
        """Refuse a plan that does not fit this model or that one of its heads cannot have."""
        fit_plan(head, plan, self.encoder.family, self.config.model_type)
        require_saliency(plan, self.saliency)
        if head == "span" and self.no_answer:
            require_separator(plan)

    @property
    def layers(self) -> int:
        """Layers of the encoder."""
        return self.encoder.layers

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def plan(self, head: str) -> Plan:
        """The plan of a head; PlaitError if the checkpoint has no such head."""
        if head not in self.plans:
            if head not in HEADS:
                raise PlaitError(f"a head must be one of {', '.join(HEADS)}, but is {head!r}")
            kinds = {"score": "sequence-classification", "span": "question-answering", "text": "text-to-text"}
            raise PlaitError(
                f"this needs a checkpoint with a {kinds[head]} head, but its heads are: "
                f"{', '.join(self.plans) or 'none'}; load one that has it, or train one"
            )
        return self.plans[head]

    def needs(self, role: str, heads: Sequence[str] | None = None) -> tuple[str, ...]:
        """Names of the tensors of `role` that the given heads (default: all) read."""
        plans = [self.plan(head) for head in heads] if heads is not None else list(self.plans.values())
        return tuple(sorted({name for plan in plans for name in plan.needs(role, self.layers)}))

    # What training, indexing and serving share

    def texts(self, roles: Sequence[str], offset: int, *, single: bool = False) -> Text:
        """How this model reads texts of these roles; see plait.text."""
        shape = self.encoder.family.shape
        return Text(
            self.tokenizer, roles, positions=shape.positions, types=shape.types, last=shape.last, offset=offset,
            single=single,
        )  # fmt: skip

    def tokens(self, segments: Sequence[Segment], *, multiple: int = 1) -> Tokens:
        """Pack segments of one role."""
        return Tokens.pack(segments, multiple=multiple, device=self.device)

    def own(self, segments: Sequence[Segment], names: Sequence[str], *, multiple: int = 1) -> States:
        """The named states of segments of one role, each computed from its own text alone."""
        return self.encoder.own(self.tokens(segments, multiple=multiple), names)

    def logits(
        self, head: str, states: Mapping[str, States], examples: Tensor, plan: Plan | None = None
    ) -> tuple[Tensor, Layout]:
        """A head's logits: float32 [B, labels] of a `score`, [T, 2] of a `span`, with their layout; minus infinity for
        tokens that a budget dropped. `plan`: another one than the head's own.
        """
        plan = plan or self.plan(head)
        require_meeting(head, plan, self.layers)
        if plan.compare != "none":
            return self.heads[head](plan, states, examples), Layout([1] * len(examples), device=self.device)
        answer: Answer = self.read_from if head == "score" else "all"
        joined = self.encoder.join(plan, states, examples, answer, before_mean=self.before_mean)
        logits = self.read_out(head, joined.states)
        if joined.places is None:
            return logits, joined.layout
        whole, _ = states[plan.reader].layout.select(examples[:, plan.roles.index(plan.reader)])
        return restored(logits, joined.layout, joined.places, whole), whole

    @property
    def read_from(self) -> Answer:
        """What the score head reads of the last states."""
        return "mean" if self.encoder.family.shape.reads_all else "first"

    def before_mean(self, x: Tensor) -> Tensor:
        """What the mean that a score is read from is taken of: the last states [T, H], or what the head first makes of
        each of them.
        """
        own = getattr(self.heads["score"], "before_mean", None)
        return x if own is None else in_float32(own, x)

    def read_out(self, head: str, x: Tensor) -> Tensor:
        """A head's logits of states [.., H], float32 and computed in float32: in half precision scores tie."""
        return in_float32(self.heads[head], x)

    # Pairs: texts in, numbers out

    def predict(
        self,
        inputs: Sequence[Sequence[Part]] | tuple[Part, ...] | str,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        apply_softmax: bool = False,
    ) -> NDArray[np.float32]:
        """Score pairs (or as many texts an example as the plan has roles).

        Args:
            inputs: examples, each one text a role in the plan's order; or a single example. In place of a text can
                stand what `encode` computed of it, or None where an example lacks one (not for the reader). Where the
                plan has one role, an example may be a text.
            batch_size: examples joined at once.
            show_progress_bar: show one on standard error; default: for more than 1,000 examples.
            activation_fn: applied to the logits; default: the config's, as sentence-transformers reads it; else a
                sigmoid for one label and nothing for several.
            apply_softmax: softmax over several labels.

        Returns:
            float32 [N] with one label, [N, labels] with several; without the first axis for a single example.
        """
        return predicted(self, inputs, batch_size, show_progress_bar, activation_fn, apply_softmax)

    def generate(
        self,
        inputs: Sequence[Sequence[Part]] | tuple[Part, ...] | str,
        *,
        max_new_tokens: int = 32,
        num_beams: int = 1,
        batch_size: int = 32,
    ) -> list[str]:
        """What the text head writes for each example, by beams or, with one, greedily.

        Args:
            inputs: examples as `predict` takes them.
            max_new_tokens, num_beams: as in `transformers`.
            batch_size: examples read at once.
        """
        if self.training:
            self.eval()
        rows, _ = as_rows(self.plan("text"), inputs)
        require_least("max_new_tokens", max_new_tokens, "32 is the default")
        require_least("num_beams", num_beams, "1 is greedy")
        require_least("batch_size", batch_size, "32 is the default")
        return write_rows(self, rows, batch_size, max_new_tokens=max_new_tokens, num_beams=num_beams)

    def rank(
        self,
        query: str,
        documents: Sequence[str | Encoded],
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
    ) -> list[dict[str, object]]:
        """Order documents, texts or what `encode` computed of them, by their score for one query: dicts of `corpus_id`,
        `score` and, if asked, `text`, the document as given.
        """
        return ranked(
            self, query, documents, top_k, return_documents, batch_size, show_progress_bar, activation_fn
        )  # fmt: skip

    def encode(
        self,
        role: str,
        texts: Sequence[str],
        names: Sequence[str] | None = None,
        batch_tokens: int = CACHE_TOKENS,
    ) -> list[Encoded]:
        """The states of known texts of one role, in the order given.

        Args:
            role: one of the plan's roles.
            texts: each must have a character that is not blank.
            names: which tensors; default: all that the heads of this model read.
            batch_tokens: tokens computed at once.
        """
        if self.training:
            self.eval()
        names = self.needs(role) if names is None else names
        if not names:
            raise PlaitError("names must be one tensor or more, but are none; leave them out for all that heads read")
        for name in names:
            require_name(name, self.layers, frozenset(self.bottlenecks), frozenset(self.saliency))
        return encoded(self, role, require_list("texts", texts), names, batch_tokens)

    def read(self, text: str, *, passage_tokens: int = 384, overlap: int = 64, codec: str = "") -> Known:
        """Compute a text once, to ask it many questions: `known = model.read(text)`, then `known.ask(question)`.

        Args:
            text: of any length; it is cut into overlapping passages of `passage_tokens` tokens.
            passage_tokens, overlap: longest passage, and tokens that neighbours share.
            codec: read states as a store with this codec would give them back; empty: as they are.
        """
        return Known(self, text, passage_tokens=passage_tokens, overlap=overlap, codec=codec)

    def segments(self, role: str, texts: Sequence[str]) -> list[Segment]:
        """Tokenize; an empty text is refused, a text that is too long is cut and a TruncationWarning says so."""
        segments = tokenized(self, role, texts)
        warn_cut(f"{role} texts", self.text.room(role), [s.cut for s in segments])
        return segments

    def spans(
        self, states: Mapping[str, States], examples: Tensor, known: Sequence[tuple[str, NDArray[np.int32]]]
    ) -> list[SpanFound]:
        """The best span of every example; `known` gives each example's text and token offsets.

        If the model can say that there is no answer (`no_answer`), which it does by the last token of the reader's
        segment, a separator, scores are those above that: positive ones are answers.
        """
        return spans_found(*self.logits("span", states, examples), known, self.no_answer)

    def activation(self) -> nn.Module:
        """What is applied to logits where nothing else is asked for; scaled cosines would saturate a sigmoid."""
        cosines = self.plan("score").compare in ("cosine", "maxsim")
        return nn.Identity() if cosines else default_activation(self.config)
