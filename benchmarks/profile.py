"""Profiles a request: times each Python function of one `VerifyEndpoints.answer` with its real arguments.

A profiler slows small functions down more than large ones. Therefore this module only records the calls of one response
and their arguments, then repeats and times each call separately. A function's own time excludes the calls within it.
"""

import gc
import inspect
import re
import shutil
import subprocess
import sys
import timeit
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CellType, CodeType, FrameType, FunctionType
from typing import Any, Final

from benchmarks import cold, rivals
from benchmarks.measure import Plan, Target, body_script, own_cpu_seconds, sound, tree, wrk
from benchmarks.verify import GET, POST, asked_by_key, robo
from ostiary.config import Settings
from ostiary.node.app import build
from ostiary.node.installation import OpenInstallation, open_installation

SECONDS: Final = 0.1
"""The time for repeating one call. It is split into equal parts, and the fastest counts."""
REPEATS: Final = 40
SHOWN: Final = 0.05
"""Calls that take fewer microseconds are not listed."""
TOP: Final = 30


@dataclass(slots=True)
class Call:
    """A recorded call, with the calls within it. Times are in microseconds."""

    name: str
    repeat: Callable[[], Any] | None
    within: "list[Call]" = field(default_factory=list)
    whole: float = 0.0

    @property
    def own(self) -> float:
        return self.whole - sum(each.whole for each in self.within)

    def walk(self, depth: int = 0) -> "Iterator[tuple[int, Call]]":
        yield depth, self
        for each in self.within:
            yield from each.walk(depth + 1)


def recorded(work: Callable[[], object]) -> Call:
    """Run `work` and return the tree of its Python calls."""
    root = Call("", None)
    stack = [root]

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE) or code.co_name.startswith("<"):
            return  # generators and comprehensions count for their function
        if event == "call":
            call = Call(_name(frame, code), _again(frame, code))
            stack[-1].within.append(call)
            stack.append(call)
        elif event == "return" and len(stack) > 1:
            stack.pop()

    gc.disable()  # finalizers are not part of a response
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    (found,) = (each for each in root.within if each.name.endswith("answer"))
    return found


def _name(frame: FrameType, code: CodeType) -> str:
    """Return a name such as `messages.wire`. Generated dataclass methods have no module and get the class name."""
    if code.co_filename.startswith("<"):
        return f"{type(frame.f_locals.get('self')).__name__}.{code.co_name}"
    return f"{Path(code.co_filename).stem}.{code.co_qualname.replace('.<locals>', '')}"


def _again(frame: FrameType, code: CodeType) -> Callable[[], Any]:
    """Return a function that repeats the call that has just begun in this frame."""
    values = frame.f_locals
    given = [values[name] for name in code.co_varnames[: code.co_argcount]]
    next_name = code.co_argcount + code.co_kwonlyargcount
    named = {name: values[name] for name in code.co_varnames[code.co_argcount : next_name]}
    if code.co_flags & inspect.CO_VARARGS:
        given += values[code.co_varnames[next_name]]
        next_name += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        named |= values[code.co_varnames[next_name]]
    closure = tuple(CellType(values[name]) for name in code.co_freevars)
    function = FunctionType(code, frame.f_globals, code.co_name, None, closure)
    return lambda: function(*given, **named)


def measured(call: Call) -> Call:
    """Return the call with its measured times."""
    for _, each in call.walk():
        assert each.repeat is not None
        try:
            each.repeat()
        except Exception:
            continue  # it raised, as in the recorded response: its time counts for its caller
        timer = timeit.Timer(each.repeat)
        number = max(int(SECONDS / REPEATS / max(timer.timeit(10) / 10, 1e-7)), 10)
        each.whole = min(timer.repeat(REPEATS, number)) / number * 1e6
    return call


def table(title: str, call: Call) -> list[str]:
    """Format the tree as indented lines: total and own microseconds, and the name."""
    lines = [f"{title}: {call.whole:.1f} µs", "", "  whole    own  call"]
    for depth, each in call.walk():
        if each.whole >= SHOWN:
            lines.append(f"{each.whole:7.2f}{each.own:7.2f}  {'  ' * depth}{each.name}")
    return lines


def answers(opened: OpenInstallation, asking: str, key: str) -> dict[str, Callable[[], bytes | None]]:
    """Return a function for each verify endpoint that makes one response from cached facts, as the edge does."""
    built = build(opened)
    hot = built.door._hot
    built.facts.sync()
    host = (b"host", b"localhost")
    its_own = [host, (b"x-api-key", key.encode())]
    another = [host, (b"x-api-key", asking.encode()), (b"content-type", b"application/json")]
    body = b'{"credential":"%s"}' % key.encode()
    hot.answer_cold(b"GET", b"/v1/authorize/-", its_own, b"", "127.0.0.1")
    hot.answer_cold(b"POST", b"/v1/verify", another, body, "127.0.0.1")
    return {
        GET: lambda: hot.answer(b"GET", b"/v1/authorize/-", its_own, b"", "127.0.0.1"),
        POST: lambda: hot.answer(b"POST", b"/v1/verify", another, body, "127.0.0.1"),
    }


def report(scratch: Path, plan: Plan) -> list[str]:
    """Return a section of Markdown: the main parts of a request, the calls of a response, and samples if available."""
    data = scratch / "profile"
    with rivals.service(data) as service:
        key = robo(service)
        script = body_script(scratch / "profile.lua", f'{{"credential":"{key}"}}', "application/json")
        get = asked_by_key(service, key)
        post = Target(f"{service.url}/v1/verify", get.pid, (f"X-API-Key: {service.key}",), script)
        with rivals.own_constant(key) as constant:
            way = _microseconds(constant, plan)
        over_http = {GET: _microseconds(get, plan), POST: _microseconds(post, plan)}
        sampled = samples(get, scratch, plan)
        asking = service.key
    opened = open_installation(Settings.model_validate({"data": data}))
    try:
        trees = {name: measured(recorded(answer)) for name, answer in answers(opened, asking, key).items()}
        first_sight = cold.by_module(opened.store, key)
    finally:
        opened.close()
    lines = [
        "## Where the time goes",
        "",
        "CPU time per request, in microseconds. HTTP is the cost of the baseline server. The verification was timed "
        "in process. The rest is the remaining difference.",
        "",
        "| request | total | HTTP | verification | rest |",
        "|---|---|---|---|---|",
    ]
    for name, tree_ in trees.items():
        whole = over_http[name]
        lines.append(
            f"| {name} | {whole:.1f} | {way:.1f} | {tree_.whole:.1f} | {whole - way - tree_.whole:.1f} |"
        )
    lines += [
        "",
        "The calls of one verification, in microseconds: the whole call, and its own time without the calls within it.",
        "",
    ]
    for name, tree_ in trees.items():
        lines += ["```text", *table(name, tree_), "```", ""]
    return lines + first_sight + sampled


def _microseconds(target: Target, plan: Plan) -> float:
    """Return the server's CPU time for one request."""
    return 1e6 / sound(wrk(target, plan.seconds)).per_cpu_second


def samples(target: Target, scratch: Path, plan: Plan) -> list[str]:
    """Return py-spy's samples of the worker, including libraries; empty if py-spy is not installed."""
    program = shutil.which("py-spy")
    if program is None:
        return []
    path = scratch / "samples"
    worker = max(tree(target.pid), key=own_cpu_seconds)
    options = ["--native", "--rate", "250", "--format", "raw"]
    command = [program, "record", *options, "--pid", str(worker), "--duration", str(plan.seconds)]
    process = subprocess.Popen(
        [*command, "--output", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wrk(target, plan.seconds + 1)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    if not path.exists():
        return []
    leaves: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, number = line.rpartition(" ")
        leaves[re.sub(r":\d+\)$", ")", stack.rpartition(";")[2])] += int(number)
    every = leaves.total()
    lines = [f"The worker under load, {GET}: where {every:,} samples fell, in percent.", "", "```text"]
    lines += [f"{100 * number / every:5.1f}  {name}" for name, number in leaves.most_common(TOP)]
    return [*lines, "```", ""]
