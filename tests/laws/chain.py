"""Which LAPACK calls of a compiled program may run side by side: decision 2 says that none of a batch may."""

import re
from collections.abc import Iterator

CALLED = re.compile(r"(?:to_apply|body|condition|calls)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
SHAPE = re.compile(r"\w+\[(\d+),\d+,\d+[\d,]*\]")


def computations(text: str) -> dict[str, dict[str, str]]:
    """The instructions of each computation of an HLO module, by name and in order."""
    found: dict[str, dict[str, str]] = {}
    now: dict[str, str] = {}
    for line in text.splitlines():
        if head := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            now = found.setdefault(head[1], {})
        elif instruction := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)$", line):
            now[instruction[1]] = instruction[2]
    return found


def side_by_side(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of instructions that call LAPACK on a batch, or loops that do, of which neither waits for the other."""
    module = computations(text)
    known: dict[str, bool] = {}

    def is_batched(instruction: str) -> bool:
        if "lapack" in instruction and "custom-call(" in instruction:
            shape = SHAPE.search(instruction)
            return shape is not None and int(shape[1]) > 1
        names = [name for pair in CALLED.findall(instruction) for name in re.findall(r"[\w.\-]+", " ".join(pair))]
        return any(calls(name) for name in names if name in module)

    def calls(name: str) -> bool:
        if name not in known:
            known[name] = any(is_batched(instruction) for instruction in module[name].values())
        return known[name]

    for body in module.values():
        before: dict[str, set[str]] = {}
        seen: list[str] = []
        for name, instruction in body.items():
            operands = [word for word in re.findall(r"%([\w.\-]+)", instruction) if word in before]
            before[name] = set(operands).union(*(before[word] for word in operands))
            if is_batched(instruction):
                yield from ((other, name) for other in seen if other not in before[name])
                seen.append(name)
