"""The table of all models."""

import pytest

import keras_setr as ks
from keras_setr_commands.main import main

pytestmark = pytest.mark.no_backend


def test_every_built_in_name_has_a_row_with_its_figures():
    table = ks.models_table()
    assert [row.name for row in table] == [*ks.checkpoints.PRESETS]
    rows = {row.name: row for row in table}
    pup = rows["setr_pup_large_ade20k_512"]
    assert (pup.model, pup.miou, pup.miou_multi_scale) == (
        "SETRPUP",
        48.24,
        49.99,
    )
    assert pup.recipe == "setr_pup_large_ade20k_512_160k_mmsegmentation"
    assert pup.tokens == 1 + 32 * 32
    # 361.99 of the encoder; of the head 9 * 256 products with 1024 channels
    # of a pixel, then with 256 of 4, 16 and 64, and 150 * 256 of 64.
    head = 1024 * (9 * 256 * (1024 + 256 * (4 + 16 + 64)) + 64 * 150 * 256)
    encoder = rows["vit_large_patch16_384"].gflops
    assert encoder == pytest.approx(361.99, abs=0.01)
    assert pup.gflops == pytest.approx(encoder + head / 1e9)
    assert rows["vit_large_patch16_384"].model is None


def test_it_is_read_in_a_terminal_and_in_markdown():
    table = ks.models_table("cityscapes")
    assert {row.dataset for row in table} == {"cityscapes"}
    lines = str(ks.models_table()).splitlines()
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    for row in ks.models_table():
        assert sum(line.startswith(row.name + " ") for line in lines) == 1
        assert row.recipe is None or row.recipe in text
    assert "pup_large_cityscapes_768 " in str(table)
    assert "ade20k" not in str(table)
    with pytest.raises(ValueError, match="dataset must be .*'ade'"):
        ks.models_table("ade")
    rows = [r for r in table.markdown().splitlines() if r.startswith("| `")]
    assert len(rows) == len(table)
    assert all(row.count("|") == 9 for row in rows)
    assert table._repr_html_().count("<tr>") == len(table) + 1


def test_the_command_prints_it(capsys, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # commands run on the three
    assert main(["models", "--dataset", "ade20k"]) == 0
    assert str(ks.models_table("ade20k")) in capsys.readouterr().out
    assert main(["models", "--markdown"]) == 0
    assert ks.models_table().markdown() in capsys.readouterr().out
