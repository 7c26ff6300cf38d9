"""Sets on disk in the format of LHAPDF: round trips, an independent program, what is refused and where."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.pdfs.example_grids import PARTONS, REGIONS, alpha_s, member, pdf_set
from unscatter.errors import PdfGridError
from unscatter.pdfs.lhagrid import read_lhapdf, write_lhapdf
from unscatter.pdfs.pdf_set import PdfInfo, PdfSet

#: Keys that programs of the field look for.
KEYS = (
    "SetDesc SetIndex Authors Reference Format DataVersion NumMembers Particle Flavors OrderQCD FlavorScheme NumFlavors ErrorType XMin "
    "XMax QMin QMax MZ MUp MDown MStrange MCharm MBottom MTop AlphaS_MZ AlphaS_OrderQCD AlphaS_Type AlphaS_Qs AlphaS_Vals"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_lhapdf(tmp_path / "example", pdf_set())


def test_what_is_written_is_read_again(folder: Path) -> None:
    written, read = pdf_set(), read_lhapdf(folder)
    assert len(read.members) == 3
    for before, after in zip(written.members, read.members, strict=True):
        assert torch.equal(before.x_nodes, after.x_nodes)
        assert torch.equal(before.Q_nodes_GeV, after.Q_nodes_GeV)
        assert before.pdg_ids == after.pdg_ids
        torch.testing.assert_close(before.values, after.values, rtol=1e-10, atol=0)


def test_every_field_of_the_info_is_read_again(tmp_path: Path) -> None:
    info = PdfInfo(
        description='colon: "quotes", # and ü',
        authors="A. Author, B. Author",
        reference="arXiv:0000.00000",
        set_index=90000,
        data_version=3,
        particle=2112,
        order_qcd=2,
        flavour_scheme="fixed",
        num_flavours=4,
        error_type="hessian",
        MZ_GeV=91.2,
        quark_masses_GeV=(0.1, 0.2, 0.3, 1.4, 4.5, 173.0),
        alpha_s_MZ=0.1179,
        alpha_s_order_qcd=1,
        alpha_s=alpha_s(),
        further={"ErrorConfLevel": 68, "Note": "yes"},
    )
    defaults = PdfInfo(description="")
    assert all(getattr(info, field.name) != getattr(defaults, field.name) for field in dataclasses.fields(PdfInfo))
    read = read_lhapdf(write_lhapdf(tmp_path / "full", PdfSet(info, (member(),)))).info
    for field in dataclasses.fields(PdfInfo):
        if field.name != "alpha_s":
            assert getattr(read, field.name) == getattr(info, field.name), field.name
    assert read.alpha_s is not None
    assert torch.equal(read.alpha_s.values, alpha_s().values)
    assert torch.equal(read.alpha_s.Q_nodes_GeV, alpha_s().Q_nodes_GeV)


def test_files_are_laid_out_as_the_format_says(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["example.info", "example_0000.dat", "example_0001.dat", "example_0002.dat"]
    info = (folder / "example.info").read_text()
    assert [key for key in KEYS.split() if not re.search(rf"^{key}: .", info, re.MULTILINE)] == []
    assert "\nFormat: lhagrid1\n" in info
    central, replica = ((folder / f"example_000{k}.dat").read_text().splitlines() for k in (0, 1))
    assert central[:3] == ["PdfType: central", "Format: lhagrid1", "---"]
    assert replica[0] == "PdfType: replica"
    ends = [k for k, line in enumerate(central) if line == "---"]
    assert [after - before for before, after in zip(ends, ends[1:], strict=False)] == [22 * len(nodes) + 4 for nodes in REGIONS]
    assert central[ends[1] + 2].split() == ["1.51", "2.0", "3.0", "4.92"]
    assert central[ends[1] + 3].split() == [str(parton) for parton in PARTONS]
    # Q runs faster than x.
    rows = torch.tensor([[float(word) for word in line.split()] for line in central[ends[1] + 4 : ends[2]]], dtype=torch.float64)
    torch.testing.assert_close(rows[5], member().values[:, 1, 3], rtol=1e-10, atol=0)


def test_values_are_those_of_an_independent_program(tmp_path: Path) -> None:
    """It read what was written here; see the note in the file."""
    values = json.loads((Path(__file__).parent / "data" / "pdfxtmd_values.json").read_text())
    info = PdfInfo(description="closed form", alpha_s=alpha_s())
    read = read_lhapdf(write_lhapdf(tmp_path / "smooth", PdfSet(info, (member(step=0.0, regions=REGIONS[1:]),))))
    x, Q, scales = (torch.tensor(values[key], dtype=torch.float64) for key in ("x", "Q_GeV", "alpha_s_Q_GeV"))
    for parton, expected in values["xf"].items():
        torch.testing.assert_close(read.central.xf(int(parton), x, Q), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)
    assert read.info.alpha_s is not None
    torch.testing.assert_close(read.info.alpha_s(scales), torch.tensor(values["alpha_s"], dtype=torch.float64), rtol=1e-12, atol=0)


def test_some_members_can_be_read_alone(folder: Path) -> None:
    (folder / "example_0002.dat").unlink()
    assert len(read_lhapdf(folder, num_members=2).members) == 2
    with pytest.raises(PdfGridError, match="'num_members' must lie between 1 and 3, what 'example' has, got 4"):
        read_lhapdf(folder, num_members=4)


def test_a_set_is_not_overwritten_unless_told(folder: Path) -> None:
    with pytest.raises(PdfGridError, match=rf"(?s)exists already .*or remove it: rm -r {folder}\n.*overwrite=True"):
        write_lhapdf(folder, PdfSet(PdfInfo(description="other"), (member(),)))
    assert len(read_lhapdf(folder).members) == 3
    write_lhapdf(folder, PdfSet(PdfInfo(description="other"), (member(),)), overwrite=True)
    assert [path.name for path in folder.parent.iterdir()] == ["example"]
    assert len(list(folder.iterdir())) == 2
    assert read_lhapdf(folder).info.description == "other"


def test_a_folder_that_is_no_set_is_never_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "example" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("chapter 1")
    with pytest.raises(PdfGridError, match="is not a set of parton densities, so it is left alone"):
        write_lhapdf(precious.parent, pdf_set(), overwrite=True)
    assert precious.read_text() == "chapter 1"


@pytest.mark.parametrize("target", ["nowhere", "elsewhere/example"])
def test_a_link_does_not_lead_a_set_elsewhere(tmp_path: Path, target: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = write_lhapdf(tmp_path / "elsewhere" / "example", pdf_set())
    (tmp_path / "example").symlink_to(tmp_path / target)
    with pytest.raises(PdfGridError, match=f"'{tmp_path / 'example'}' exists and is not a set"):
        write_lhapdf(tmp_path / "example", pdf_set(), overwrite=True)
    assert len(read_lhapdf(other).members) == 3
    assert not (tmp_path / "nowhere").exists()


def test_a_path_that_is_too_long_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(PdfGridError, match="name is too long"):
        write_lhapdf(tmp_path / ("d" * 300) / "example", pdf_set())


@pytest.mark.parametrize("broken_rename", [1, 2])
def test_a_write_that_fails_leaves_the_old_set(folder: Path, monkeypatch: pytest.MonkeyPatch, broken_rename: int) -> None:
    """Either of the two renames of the exchange fails."""
    rename, calls = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == broken_rename:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PdfGridError, match="no space left"):
        write_lhapdf(folder, PdfSet(PdfInfo(description="other"), (member(),)), overwrite=True)
    assert len(read_lhapdf(folder).members) == 3
    assert [path.name for path in folder.parent.iterdir()] == ["example"]


def test_a_failing_member_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(source: object, target: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(PdfGridError, match="Choose a directory that you may write to"):
        write_lhapdf(tmp_path / "example", pdf_set())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_parent_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(PdfGridError, match="does not exist"):
        write_lhapdf(tmp_path / "no" / "example", pdf_set())


@pytest.mark.parametrize("name", ["two words", ".hidden", "-dash", "a:b", "naïve", "semi;colon", "n" * 201])
def test_names_that_other_programs_cannot_handle_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PdfGridError, match="is no name for a set. Use up to 200 letters"):
        write_lhapdf(tmp_path / name, pdf_set())
    assert list(tmp_path.iterdir()) == []


def _edit_line(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        lines = text.splitlines()
        lines[number - 1] = change(lines[number - 1])
        return "\n".join(lines) + "\n"

    return edit


#: Nine lists of nine aliases each, one inside the other.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))

#: What is done to 'example_0001.dat', whose first block begins at line 4, its densities at line 7, and what the message says.
DEFECTS: dict[str, tuple[Callable[[str], str], str]] = {
    "a number too few": (
        _edit_line(9, lambda line: line.rpartition(" ")[0]),
        "line 9: a row needs 5 numbers, one per parton of line 6, got 4",
    ),
    "a number too many": (_edit_line(9, lambda line: line + " 1.0"), "line 9: a row needs 5 numbers, one per parton of line 6, got 6"),
    "glued numbers": (
        _edit_line(10, lambda line: "1.0E-011.0E-02 1.0 1.0 1.0"),
        "line 10: '1.0E-011.0E-02' is not a number: 2 numbers stand without",
    ),
    "glued at a sign": (
        _edit_line(10, lambda line: "1.0E-01-1.0E-02 1.0 1.0 1.0"),
        "line 10: '1.0E-01-1.0E-02' is not a number: 2 numbers",
    ),
    "stars": (_edit_line(11, lambda line: "********* 1 1 1 1"), r"line 11: '\*+' is not a number$|line 11: '\*+' is not a number\."),
    "not a number": (_edit_line(12, lambda line: "NaN 1 1 1 1"), "line 12: 'NaN' is not finite"),
    "infinite": (_edit_line(12, lambda line: "1 1 1 1 1e999"), "line 12: '1e999' is not finite"),
    "NaN in x": (_edit_line(4, lambda line: "nan " + line), "line 4: 'nan' is not finite"),
    "x does not increase": (_edit_line(4, lambda line: line.replace("0.3", "0.1")), "block at line 4: nodes in x must increase"),
    "Q does not increase": (_edit_line(5, lambda line: "1.51 1.3"), "block at line 4: nodes in Q must increase"),
    "partons are no integers": (_edit_line(6, lambda line: "-2 -1 g 1 2"), "line 6: here stand the partons.* got 'g'"),
    "partons of another script": (_edit_line(6, lambda line: line.replace("21", "٢١")), "line 6: here stand the partons.* got '٢١'"),
    "a parton of many digits": (
        _edit_line(6, lambda line: line.replace("21", "2" * 5000)),
        r"line 6: here stand the partons.* got '2{57}\.\.\.'",
    ),
    "digits with underscores": (_edit_line(12, lambda line: "1 1_0 1 1 1"), "line 12: '1_0' is not a number"),
    "digits of another script": (_edit_line(12, lambda line: "1 1 1 ١٢ 1"), "line 12: '١٢' is not a number"),
    "digits of another script in x": (_edit_line(4, lambda line: line + " ١"), "line 4: '١' is not a number"),
    "a parton twice": (_edit_line(6, lambda line: "-2 -1 21 1 1"), "block at line 4: each parton must stand once"),
    "a row too few": (lambda text: text.replace(text.splitlines()[20] + "\n", ""), "line 7: 44 rows must follow.* but 43 do until '---'"),
    "cut short": (lambda text: text[: len(text) // 2], "line [0-9]+: the file ends without '---' after what begins at line 52"),
    "without the last separator": (lambda text: text.removesuffix("---\n"), "the file ends without '---'"),
    "empty": (lambda text: "", "line 1: the file is empty"),
    "header only": (lambda text: text[: text.index("---") + 4], "line 3: there is no block of numbers"),
    "an empty block": (lambda text: text + "---\n", "a block has lines of nodes in x"),
    "another format": (lambda text: text.replace("lhagrid1", "lhagrid2"), "line 2: the format is 'lhagrid2', and 'lhagrid1' is the one"),
    "no format": (lambda text: text.replace("Format: lhagrid1\n", ""), "line 1: the header has no line 'Format: lhagrid1'"),
    "no header line": (_edit_line(1, lambda line: "replica"), "line 1: the header has lines such as 'Format: lhagrid1', got 'replica'"),
    "a gap between regions": (
        lambda text: text.replace("\n1.51 2.0", "\n1.6 2.0"),
        "block 2 begins at Q = 1.6 GeV, but the one before ends at 1.51",
    ),
    "other x in a region": (lambda text: text[:700] + text[700:].replace("\n1e-05 ", "\n2e-05 ", 1), "block 2 has other nodes in x"),
    "another parton": (lambda text: text.replace("-2 -1 21 1 2", "-2 -1 21 1 3"), r"has the partons \[-2, -1, 21, 1, 3\], but 'Flavors'"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_malformed_member_is_named_with_its_line(folder: Path, defect: str) -> None:
    path = folder / "example_0001.dat"
    change, message = DEFECTS[defect]
    text = change(path.read_text())
    assert text != path.read_text()
    path.write_text(text)
    with pytest.raises(PdfGridError, match=rf"example_0001\.dat.*{message}"):
        read_lhapdf(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nFlavors: .*", "", "lacks 'Flavors'"),
        ("\nFlavors: ", "\nFlavours: ", "lacks 'Flavors'. Did you mean 'Flavours'"),
        ("(XMin|QMax): .*\n", "", "lacks 'XMin', 'QMax'"),
        ("Format: lhagrid1", "Format: lhagrid9", "the format is 'lhagrid9'"),
        ("NumMembers: 3", "NumMembers: three", "'NumMembers' must be an integer, got 'three'"),
        ("NumMembers: 3", "NumMembers: 2.5", "'NumMembers' must be an integer, got 2.5"),
        ("NumMembers: 3", "NumMembers: 4", "has no member 3: 'example_0003.dat' is missing"),
        ("MZ: 91.1876", "MZ: heavy", "'MZ' must be a finite number, got 'heavy'"),
        ("MTop: 172.5", "MTop: [1]", "'MTop' must be a finite number"),
        ("\nFlavors: .*", "\nFlavors: 5", "'Flavors' must be a list such as"),
        (r"AlphaS_Qs: \[1.51, ", "AlphaS_Qs: [", "'AlphaS_Qs' and 'AlphaS_Vals': the strong coupling has 8 scales, but 9 values"),
        (r"AlphaS_Vals: \[0", "AlphaS_Vals: [-0", "values of the strong coupling must lie between 0 and 10"),
        (r"AlphaS_Vals: .*\n", "", "belong together, and only 'AlphaS_Qs' is there"),
        ('SetDesc: ".*"', "SetDesc: two: colons", "line 1: .*Text with a colon inside needs quotes"),
        ("(.|\n)*", "words", "must consist of lines"),
        ('SetDesc: ".*"', "SetDesc: !!int abc", r"example.info', line 1: this is not a value of the type 'int'"),
        ("NumMembers: 3", f"NumMembers: {'3' * 5000}", r"this is not a value of the type 'int', or too long for one"),
        ("NumMembers: 3", f"NumMembers: {'3' * 4000}", r"'NumMembers' must be an integer, got 3{57}\.\.\."),
        ("NumMembers: 3", "NumMembers: true", "'NumMembers' must be an integer, got True"),
        ("AlphaS_MZ: .*", "AlphaS_MZ: -0.1", "'AlphaS_MZ' must lie between 0.01 and 0.3, got -0.1"),
        ("AlphaS_MZ: .*", "AlphaS_MZ: 0.9", "'AlphaS_MZ' must lie between 0.01 and 0.3, got 0.9"),
        ("MZ: 91.1876", "MZ: .nan", "'MZ' must be a finite number, got nan"),
        ("MZ: 91.1876", "MZ: -1", "'MZ' must lie between 10 and 1000, got -1"),
        ("XMin: .*", "XMin: foo", "'XMin' must be a finite number, got 'foo'"),
        ("XMin: .*", "XMin: 1.5", "'XMin' must be positive and below 'XMax', which is at most 1, got 1.5 and 1"),
        ("QMax: .*", "QMax: 0.1", "'QMin' must be positive and below 'QMax', got"),
        ("NumMembers: 3", BOMB + "NumMembers: *a9", r"values when those behind aliases .* are counted wherever they stand"),
        ("NumMembers: 3", "NumMembers: &a [*a]", "holds a value inside itself .*, or is nested too deeply"),
        ("MZ: 91.1876", "MZ: 91.1876\nMZ: 91.2", r"has the key 'MZ' twice, in lines \d+ and \d+"),
    ],
)
def test_a_malformed_info_is_named(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "example.info"
    text = re.sub(old, new, path.read_text(), count=2 if "|" in old and "QMax" in old else 1)
    assert text != path.read_text()
    path.write_text(text)
    with pytest.raises(PdfGridError, match=message):
        read_lhapdf(folder)


def test_a_date_is_text(folder: Path) -> None:
    path = folder / "example.info"
    path.write_text(re.sub("SetDesc: .*", "SetDesc: 2020-99-99", path.read_text()))
    assert read_lhapdf(folder).info.description == "2020-99-99"


def test_numbers_that_YAML_takes_for_text_are_read(folder: Path) -> None:
    """YAML 1.1 has no 1e-09 without a dot."""
    path = folder / "example.info"
    path.write_text(path.read_text().replace("MUp: 0.0", "MUp: 1e-03").replace("[1.51,", "[151e-02,"))
    info = read_lhapdf(folder).info
    assert info.quark_masses_GeV[1] == 1e-3
    assert info.alpha_s is not None
    assert float(info.alpha_s.Q_nodes_GeV[0]) == 1.51


def test_a_set_that_lets_the_library_compute_the_coupling_has_none(folder: Path) -> None:
    path = folder / "example.info"
    path.write_text(re.sub(r"AlphaS_(Qs|Vals|Type): .*\n", "", path.read_text()))
    assert read_lhapdf(folder).info.alpha_s is None


def test_a_folder_that_is_missing_or_renamed_is_explained(folder: Path) -> None:
    with pytest.raises(PdfGridError, match="Did you mean 'example'"):
        read_lhapdf(folder.with_name("exampel"))
    renamed = folder.rename(folder.with_name("other"))
    with pytest.raises(PdfGridError, match=r"has no 'other.info'. There is 'example.info': the folder has to have the name of the set"):
        read_lhapdf(renamed)
