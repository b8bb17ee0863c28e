"""The SDK in ordinary Python: what a user's own tests rely on. Run by `cargo test`."""

import importlib.util
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from mlp import Batch, MissingColumn, RowError, WrongResult, transform  # noqa: E402


class Transforms(unittest.TestCase):
    def test_a_dict_of_columns_runs_in_place(self):
        @transform
        def years(t: Batch, *, months: int = 12) -> dict[str, list]:
            """Converts."""
            return {"years": [m / months for m in t["tenure"]]}

        self.assertEqual(years({"tenure": [6, 18]}), {"years": [0.5, 1.5]})
        self.assertEqual(years({"tenure": [6]}, months=6), {"years": [1.0]})
        self.assertEqual((years.__name__, years.__doc__), ("years", "Converts."))

    def test_a_batch_is_a_mapping_that_knows_its_rows(self):
        batch = Batch({"a": [1, 2], "b": (None, 3)})
        self.assertEqual((batch.n_rows, len(batch), list(batch), batch["b"]), (2, 2, ["a", "b"], [None, 3]))
        with self.assertRaisesRegex(MissingColumn, "`c`, which it is not given; it has `a`, `b`"):
            batch["c"]
        with self.assertRaises(WrongResult):
            Batch({"a": [1], "b": [1, 2]})

    def test_a_function_without_a_batch_is_no_transform(self):
        with self.assertRaisesRegex(TypeError, "must take the batch"):
            transform(lambda **columns: columns)

    def test_wrong_parameters_are_named(self):
        takes_two = transform(lambda t, *, needed, other=1: {})
        takes_any = transform(lambda t, **params: {})
        self.assertIn("has no parameter `x`; it has `needed`, `other`", takes_two.wrong_parameters({"needed": 1, "x": 2}))
        self.assertIn("needs the parameter `needed`", takes_two.wrong_parameters({}))
        self.assertIsNone(takes_two.wrong_parameters({"needed": 1}))
        self.assertIsNone(takes_any.wrong_parameters({"x": 1}))


class Churn(unittest.TestCase):
    def setUp(self):
        path = HERE.parents[5] / "pipelines/churn/transforms/clean.py"
        spec = importlib.util.spec_from_file_location("clean", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.clean = module.clean

    def test_new_customers_have_been_billed_nothing(self):
        cleaned = self.clean({"tenure": [0, 3], "TotalCharges": [None, 2.5], "SeniorCitizen": [0, 1]})
        self.assertEqual(cleaned, {"TotalCharges": [0.0, 2.5], "SeniorCitizen": [False, True]})

    def test_a_blank_bill_of_an_old_customer_is_refused(self):
        with self.assertRaises(RowError) as refused:
            self.clean({"tenure": [0, 3], "TotalCharges": [None, None], "SeniorCitizen": [0, 1]})
        self.assertEqual((refused.exception.row, refused.exception.column), (1, "TotalCharges"))


if __name__ == "__main__":
    unittest.main()
