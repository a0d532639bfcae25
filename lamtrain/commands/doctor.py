"""What this machine has: doctor."""

from __future__ import annotations

from lamdata.command import print_json, table

from .app import Json, app


@app.command(epilog="Example: lamtrain doctor")
def doctor(json: Json = False) -> None:
    """Say what this machine and this installation have, what will be slow, and what to do about it."""
    from dataclasses import asdict

    from ..doctor import examine

    facts = examine()
    if json:
        print_json({"facts": [asdict(fact) for fact in facts]})
        return
    needed, extras = ([fact for fact in facts if fact.name.startswith("extra ") == side] for side in (False, True))
    table("this machine", ["", "found", "what to do"], [[fact.name, fact.found, fact.advice or ""] for fact in needed])
    print("extras: " + "; ".join(f"{fact.name.removeprefix('extra ')} {fact.found}" for fact in extras))
