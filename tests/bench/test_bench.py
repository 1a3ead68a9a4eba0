"""What the bench itself must get right, without a server: python3 -m unittest discover tests/bench."""
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench import report  # noqa: E402
from bench.figures.highest import search  # noqa: E402
from bench.figures.latency import check  # noqa: E402
from bench.place import BenchError  # noqa: E402
from bench.play import Result, Row, Session, play  # noqa: E402

SEEN = {"incidents": 3, "repeated": 0, "unmarked": 0, "unknown": 0}


class Scripted(Session):
    """Pairs as they are told, of a ratio and of foreign cores."""

    name = "T"
    rows = [Row("T", "a ratio", 2.0, 1.0, lambda pair: pair["product"]["x"] / pair["reference"]["x"], higher=False)]

    def __init__(self, pairs):
        self.pairs = iter(pairs)

    def sides(self, world):
        ratio, foreign = next(self.pairs)
        return [("reference", lambda: {"x": 1.0, "foreign_cores": 0.0}),
                ("product", lambda: {"x": ratio, "foreign_cores": foreign})]


def played(pairs, wanted, once=1.0):
    world = SimpleNamespace(pairs=wanted, quiet=SimpleNamespace(once=once))
    results, every = play(Scripted(pairs), world, lambda line: None)
    return results[0], every


class Bench(unittest.TestCase):
    def test_a_busy_pair_is_dropped_and_played_again(self):
        result, every = played([(1.0, 0.0), (9.0, 0.5), (3.0, 0.1), (2.0, 0.2)], 3)
        self.assertEqual((len(every), result.values, result.median, result.busy), (4, [1.0, 3.0, 2.0], 2.0, False))
        self.assertEqual(result.verdict, "pass")

    def test_where_no_pair_was_quiet_the_figure_says_so(self):
        result, every = played([(1.0, 1.0)] * 9, 2)
        self.assertEqual((len(every), result.busy), (4, True))
        self.assertIn("busy", report.cells(result)[-1])

    def test_verdicts_know_their_direction(self):
        lower, higher = Row("a", "a", 2, 1, lambda pair: None, higher=False), Row("b", "b", 1, 2, lambda pair: None)
        verdicts = [Result(row, [value], 1, False).verdict for row in (lower, higher) for value in (0.5, 1.5, 2.5)]
        self.assertEqual(verdicts, ["goal", "pass", "BELOW", "BELOW", "pass", "goal"])
        self.assertEqual(Result(lower, [], 0, False).verdict, "not measured")

    def test_what_is_lost_doubled_or_unmarked_is_no_figure(self):
        check(SEEN, 3)
        for wrong in ({"incidents": 2}, {"repeated": 1}, {"unmarked": 1}, {"unknown": 1}):
            with self.assertRaises(BenchError):
                check({**SEEN, **wrong}, 3)

    def test_the_last_good_place_is_found(self):
        for good in range(1, 9):
            self.assertEqual(search(lambda place, good=good: place < good, 9), good - 1)

    def test_the_document_has_every_figure_and_keeps_what_people_wrote(self):
        place = SimpleNamespace(run=lambda command, seconds: f"{Path(command[0]).name} 1.0\n", itsm=Path("itsm"),
                                postgres=Path("bin"), nats=Path("nats-server"))
        world = SimpleNamespace(place=place, quiet=SimpleNamespace(gave_up=2))
        row = Row("P1", "a rate", 0.45, 0.65, lambda pair: None)
        results = [Result(row, [0.5, 0.7, 0.6], 3, False, "pgbench 4000/s"), Result(row, [], 0, False, "FAILED: lost")]
        pairs = {"P1": [{"own": {"stages": {"itsm_ms": 0.5, "commits": 2.0, "statements": ["select"]}}}]}
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(report, "alertmanager", lambda: ["alertmanager"]):
            path = Path(folder) / "performance.md"
            path.write_text(f"formerly\n{report.BEGIN}\nmine\n{report.END}\n")
            report.write(path, results, pairs, world, 90)
            text = path.read_text()
        for wanted in ("| P1 | a rate | ≥ 0.45 | ≥ 0.65 | 0.60 | 0.50 to 0.70 | 3 of 3 | pass |", "- P1: pgbench 4000/s",
                       "not measured", "| itsm, ms of CPU | 0.50 |", "\nmine\n", "2 stretches", "postgres 1.0"):
            self.assertIn(wanted, text)
        self.assertNotIn("formerly", text)

    def test_what_people_wrote_is_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "performance.md"
            self.assertIn("Not written yet", report.by_hand(path))
            path.write_text(f"old\n\n{report.BEGIN}\n## Limits\n\nmine\n{report.END}\n")
            self.assertEqual(report.by_hand(path), "## Limits\n\nmine")


if __name__ == "__main__":
    unittest.main()
