"""Runs a client program in another language. Both sides exchange one JSON object per line (see `talk.mjs`)."""

import json
import subprocess
from collections.abc import Callable, Sequence
from typing import Any


def conversation(command: Sequence[str], told: Any, answer: Callable[[dict[str, Any]], Any]) -> Any:
    """Send the task `told` to a program, answer its requests, and return the value that it sends as `done`.

    If the program ends early, fails with its standard error.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            said = told
            while True:
                process.stdin.write(json.dumps(said) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
                assert line, process.stderr.read()
                question = json.loads(line)
                if "done" in question:
                    return question["done"]
                said = answer(question)
        finally:
            process.kill()
