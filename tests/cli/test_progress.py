"""Progress: live in a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io

from rich.console import Console

from unscatter.cli.progress import LiveDisplay, Pace, PlainLines, progress_display


def record(step: int, seconds: float) -> dict[str, object]:
    parameters = {f"parameter_{i}": 1.23456 for i in range(9)}
    return {"step": step, "seconds": seconds, "discriminator_loss": 0.69314, "generator_loss": 0.7, "penalty": 0.1, "averaged": parameters}


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=60, color_system=None), file


def test_pace_counts_from_the_first_record_of_this_process() -> None:
    pace = Pace()
    assert pace.update(record(500, 1000.0)) is None
    assert pace.update(record(600, 1010.0)) == 10.0


def test_plain_lines_come_now_and_then_and_at_the_end() -> None:
    target, file = console(terminal=False)
    display = PlainLines(target)
    display.started(0, 100)
    for step in range(10, 101, 10):
        display.progressed(record(step, step / 50))
    lines = file.getvalue().splitlines()
    assert lines[0] == "step 0 of 100"
    assert [line.split()[1] for line in lines[1:]] == ["10/100", "100/100"]
    assert lines[-1].startswith("step 100/100 (100%) 50/s 0:00 left: discriminator 0.693 generator 0.7 parameter_0 1.23")


def test_live_display_fits_into_sixty_columns_and_shows_pace_losses_and_parameters() -> None:
    target, _ = console(terminal=True)
    display = LiveDisplay(target)
    display.started(0, 2000)
    display.progressed(record(20, 1.0))
    display.progressed(record(1240, 25.0))
    with target.capture() as captured:
        target.print(display.live.get_renderable())
    assert max(map(len, captured.get().splitlines())) <= 60
    text = " ".join(captured.get().split())
    assert "step 1240/2000" in text
    assert "62% 51/s 0:15 left" in text
    assert "discriminator 0.693 generator 0.7" in text
    assert "parameter_0 1.23" in text
    assert "parameter_6" not in text, "six parameters are enough for a display"


def test_quiet_and_terminal_decide_on_the_display() -> None:
    for terminal, quiet, kinds in ((False, True, []), (True, True, []), (False, False, [PlainLines]), (True, False, [LiveDisplay])):
        target, file = console(terminal=terminal)
        with progress_display(target, quiet=quiet) as observers:
            assert [type(observer) for observer in observers] == kinds
        if quiet:
            assert file.getvalue() == ""
