"""Public data sets in their authors' own files -> the forms that `plait train`, `sweep` and `adopt` read.

Command:   python -m bench.sets SET FOLDER OUT
           SET is rte, mrpc, stsb, sick, cad, wikiqa, race, chunks (OUT/train.jsonl, dev.jsonl, test.jsonl), or
           cranfield, vaswani (a BEIR folder in OUT); FOLDER holds the set as its authors ship it (WikiQA: as
           castorini's data do; RACE: train.jsonl and dev.jsonl; chunks: SQuAD 1.1's train.json and dev.json).
Splits:    the authors'. RTE's and MRPC's files have no dev or no labelled test part: RTE's dev part becomes `test`,
           and a tenth of the training part, by seed 0, becomes `dev` of both. RACE: 10,000 questions of the training
           part, 500 others for `dev`; its dev part becomes `test`. `test` is for the last figures only.
Texts:     the live text first: hypotheses before premises, questions before sentences.
chunks:    questions with their passage, right, and three others of the article, wrong; each passage whole and as five
           chunks of neighbouring sentences (LAIT's BoolQ-Split, there of yes-no questions, which are not here).
           3,000 questions of the training part, 300 others for `dev` (which the bundled reader has learned from),
           1,000 of the dev part for `test`, by seed 0.
"""

import argparse
import csv
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from plait.data import Example, Question, read_examples, read_squad

Row = Mapping[str, object]
TASKS = {
    "rte": "class", "mrpc": "class", "stsb": "value", "sick": "class", "cad": "class", "wikiqa": "rank",
    "race": "choice", "chunks": "rank",
}  # fmt: skip
CHUNKS = 5


def main() -> None:
    """Convert one set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=[*TASKS, "cranfield", "vaswani"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    a = parser.parse_args()
    if a.set in TASKS:
        parts = {name: list(rows) for name, rows in PAIRS[a.set](a.folder).items()}
        if "dev" not in parts:
            parts |= _held_out(parts["train"])
        for name, rows in parts.items():
            _write(a.out / f"{name}.jsonl", rows)
            print(name, len(rows))
    else:
        corpus, queries, qrels = COLLECTIONS[a.set](a.folder)
        _write(a.out / "corpus.jsonl", corpus)
        _write(a.out / "queries.jsonl", queries)
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in qrels)]
        (a.out / "qrels").mkdir(exist_ok=True)
        (a.out / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
        print(len(corpus), "documents", len(queries), "queries", len(qrels), "judgements")


def _held_out(rows: list[Row]) -> dict[str, list[Row]]:
    rows = random.Random(0).sample(rows, len(rows))
    return {"dev": rows[: len(rows) // 10], "train": rows[len(rows) // 10 :]}


def _tsv(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a file with a header; quotes are letters, but for cells that are quoted with doubled quotes inside."""
    lines = path.read_text("utf-8-sig").split("\n")
    header = lines[0].rstrip("\r").split("\t")
    for line in lines[1:]:
        if line.strip():
            cells = line.rstrip("\r").split("\t")
            yield dict(zip(header, (_unquoted(cell) for cell in cells), strict=True))


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '""' in cell[1:-1]:
        return cell[1:-1].replace('""', '"')
    return cell


def _pair(query: str, passage: str, label: object, **more: object) -> Row:
    return {"query": query, "passage": passage, "label": label, **more}


def _rte(folder: Path) -> dict[str, Iterable[Row]]:
    names = {"0": "entailment", "1": "not_entailment"}

    def read(name: str) -> Iterator[Row]:
        for row in _tsv(folder / f"{name}.tsv"):
            yield _pair(row["sentence2"], row["sentence1"], names[row["label"]])

    return {"train": read("train"), "test": read("dev")}


def _mrpc(folder: Path) -> dict[str, Iterable[Row]]:
    def read(name: str) -> Iterator[Row]:
        for row in _tsv(folder / f"msr_paraphrase_{name}.txt"):
            yield _pair(row["#1 String"], row["#2 String"], "same" if row["Quality"] == "1" else "different")

    return {"train": read("train"), "test": read("test")}


def _stsb(folder: Path) -> dict[str, Iterable[Row]]:
    def read(name: str) -> Iterator[Row]:
        with (folder / f"sts-{name}.csv").open(encoding="utf-8", newline="") as file:
            for cells in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield _pair(cells[5], cells[6], float(cells[4]))

    return {name: read(name) for name in ("train", "dev", "test")}


def _sick(folder: Path) -> dict[str, Iterable[Row]]:
    def read(name: str) -> Iterator[Row]:
        for row in _tsv(folder / f"SICK_{name}.txt"):
            yield _pair(row["sentence_B"], row["sentence_A"], row["entailment_judgment"].lower())

    return {"train": read("train"), "dev": read("trial"), "test": read("test_annotated")}


def _cad(folder: Path) -> dict[str, Iterable[Row]]:
    def read(name: str) -> Iterator[Row]:
        for row in _tsv(folder / "NLI" / "all_combined" / f"{name}.tsv"):
            yield _pair(row["sentence2"], row["sentence1"], row["gold_label"])

    return {name: read(name) for name in ("train", "dev", "test")}


def _wikiqa(folder: Path) -> dict[str, Iterable[Row]]:
    def read(name: str) -> Iterator[Row]:
        files = ("a.toks", "b.toks", "sim.txt", "id.txt")
        columns = [(folder / name / file).read_text("utf-8").splitlines() for file in files]
        for question, sentence, label, group in zip(*columns, strict=True):
            if sentence.strip():
                yield _pair(question, sentence, float(label), group=group)

    return {name: read(name) for name in ("train", "dev", "test")}


def _race(folder: Path) -> dict[str, Iterable[Row]]:
    train, test = (read_examples(folder / f"{name}.jsonl") for name in ("train", "dev"))
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in train:
        groups[example.group].append(example)
    some = random.Random(0).sample(list(groups), 10_500)
    parts = {name: [e for g in part for e in groups[g]] for name, part in (("train", some[500:]), ("dev", some[:500]))}
    return {
        name: [_pair(e.texts[0], e.texts[1], e.label, id=e.id, group=e.group) for e in examples]
        for name, examples in (parts | {"test": test}).items()
    }


def _chunks(folder: Path) -> dict[str, Iterable[Row]]:
    rng = random.Random(0)
    train, test = (read_squad(folder / f"{name}.json") for name in ("train", "dev"))
    some = rng.sample(train, 3_300)
    return {
        "train": _asked(some[300:], train, rng), "dev": _asked(some[:300], train, rng),
        "test": _asked(rng.sample(test, 1_000), test, rng),
    }  # fmt: skip


def _asked(questions: list[Question], all_: list[Question], rng: random.Random) -> Iterator[Row]:
    articles: dict[str, dict[str, None]] = defaultdict(dict)
    for question in all_:
        articles[question.document.rpartition("/")[0]][question.passage] = None
    for question in questions:
        others = [p for p in articles[question.document.rpartition("/")[0]] if p != question.passage]
        for passage in (question.passage, *rng.sample(others, min(3, len(others)))):
            label = float(passage == question.passage)
            yield _pair(question.question, passage, label, group=question.id, chunks=cut(passage, CHUNKS))


def cut(passage: str, count: int) -> list[str]:
    """A passage as at most `count` runs of neighbouring sentences, the two shortest neighbours merged at each step."""
    parts = [part for part in re.split(r"(?<=[.!?])\s+", passage.strip()) if part]
    while len(parts) > count:
        at = min(range(len(parts) - 1), key=lambda i: len(parts[i]) + len(parts[i + 1]))
        parts[at : at + 2] = [f"{parts[at]} {parts[at + 1]}"]
    return parts


PAIRS = {
    "rte": _rte, "mrpc": _mrpc, "stsb": _stsb, "sick": _sick, "cad": _cad, "wikiqa": _wikiqa, "race": _race,
    "chunks": _chunks,
}  # fmt: skip
Judged = tuple[list[Row], list[Row], list[tuple[str, str, int]]]


def _cranfield(folder: Path) -> Judged:
    """Queries are numbered by their order, as the judgements are; codes 1 (best) to 4 become gains 4 to 1."""
    corpus = []
    for part in re.split(r"^\.I ", (folder / "cran.all.1400").read_text(), flags=re.MULTILINE)[1:]:
        id, title, text = (part.split("\n")[0], _field(part, "T"), _field(part, "W"))
        body = text.removeprefix(title).strip()
        if title or body:
            corpus.append({"_id": id.strip(), "title": title, "text": body or title})
    asked = re.split(r"^\.I ", (folder / "cran.qry").read_text(), flags=re.MULTILINE)[1:]
    queries: list[Row] = [{"_id": str(i), "text": _field(part, "W")} for i, part in enumerate(asked, 1)]
    there = {row["_id"] for row in corpus}
    qrels = []
    for line in (folder / "corrected_cranqrel").read_text().splitlines():
        query, _, document, code = line.split()
        if document in there and 1 <= int(code) <= 4:
            qrels.append((query, document, 5 - int(code)))
    return list(corpus), queries, qrels


def _field(part: str, name: str) -> str:
    found = re.search(rf"^\.{name}\n(.*?)(?=^\.[A-Z]\n|\Z)", part, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def _vaswani(folder: Path) -> Judged:
    texts = (folder / "corpus" / "doc-text.trec").read_text()
    corpus: list[Row] = [
        {"_id": id, "text": " ".join(text.split())}
        for id, text in re.findall(r"<DOCNO>(\d+)</DOCNO>(.*?)</DOC>", texts, re.DOTALL)
        if text.strip()
    ]
    asked = (folder / "query-text.trec").read_text()
    queries: list[Row] = [
        {"_id": id, "text": " ".join(text.split()).lower()}
        for id, text in re.findall(r"<num>(\d+)</num>\s*<title>(.*?)</title>", asked, re.DOTALL)
    ]
    qrels = [(q, d, int(gain)) for q, _, d, gain in (x.split() for x in (folder / "qrels").read_text().splitlines())]
    return corpus, queries, qrels


COLLECTIONS = {"cranfield": _cranfield, "vaswani": _vaswani}


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    main()
