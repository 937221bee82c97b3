import importlib.util
import inspect
import json
import unittest

from fyke_client import callsite, comment, commented, mongo

from . import peers

HERE = "tests.test_mongo"


def function_of(text):
    return json.loads(text)["callingFunction"]


class Collection:
    """As much of pymongo's as a wrapper touches."""

    name = "orders"

    def __init__(self):
        self.comments = []

    def find(self, *values, **named):
        self.comments.append(named.get("comment"))
        return values

    def next(self, **named):
        return named

    def with_options(self, **named):
        return self

    def __getattr__(self, name):
        return self

    def __getitem__(self, name):
        return self


class CallSites(unittest.TestCase):
    def setUp(self):
        self.inner = Collection()
        self.orders = commented(self.inner)

    def functions(self):
        return [function_of(text) for text in self.inner.comments]

    def test_an_operation_names_the_function_that_asks(self):
        def load_order():
            return self.orders.find({"_id": 7})

        self.assertEqual((load_order(), self.functions()), (({"_id": 7},), [f"{HERE}.load_order"]))

    def test_the_function_that_calls_counts_and_not_the_one_that_looked_the_method_up(self):
        find = self.orders.find

        def later():
            find()

        later()
        self.assertEqual(self.functions(), [f"{HERE}.later"])

    def test_what_has_no_name_is_part_of_what_runs_it(self):
        def several():
            return [self.orders.find(number) for number in range(2)] and (lambda: self.orders.find())()

        several()
        self.assertEqual(self.functions(), [f"{HERE}.several"] * 3)

    def test_a_script_has_functions_and_no_module(self):
        space = {"__name__": "__main__", "orders": self.orders, "comment": comment}
        exec("def main(): orders.find()\nmain()\norders.find()\ntext = comment()", space)
        self.assertEqual((self.functions(), function_of(space["text"])), (["main", "<module>"], "<module>"))

    def test_a_block_may_have_another_name(self):
        with callsite("checkout"):
            self.orders.find()
            self.assertEqual(function_of(comment()), "checkout")
        self.assertEqual(self.functions(), ["checkout"])

    def test_a_comment_that_is_given_stays(self):
        self.orders.find(comment="mine")
        self.assertEqual(self.inner.comments, ["mine"])

    def test_other_collections_of_this_one_are_wrapped_as_well(self):
        for other in (self.orders.with_options(), self.orders.archive, self.orders["archive"]):
            self.assertIsInstance(other, mongo.Commented)

    def test_everything_else_is_the_collections(self):
        self.assertEqual((self.orders.name, self.orders.next(a=1)), ("orders", {"a": 1}))

    def test_names_are_cut_to_what_the_filter_reads(self):
        self.assertEqual(function_of(comment("a" + "b" * 128)), "b" * 128)


@unittest.skipUnless(importlib.util.find_spec("pymongo"), "pymongo is not installed")
class Pymongo(unittest.TestCase):
    def test_every_method_that_takes_a_comment_gets_one(self):
        from pymongo.collection import Collection

        methods = dict(inspect.getmembers(Collection, inspect.isfunction))
        takes = {name for name, method in methods.items() if not name.startswith("_") and "comment" in inspect.signature(method).parameters}
        # Of Atlas alone, and not counted by collection.
        takes = {name for name in takes if "search_index" not in name}
        self.assertEqual(takes - mongo.METHODS, set())
        # These hand everything on to a cursor.
        self.assertEqual(mongo.METHODS - takes, {"find", "find_one", "find_raw_batches"})

    def test_the_server_reads_who_asks(self):
        import pymongo

        with peers.mongo() as (address, seen):
            with pymongo.MongoClient(f"mongodb://{address}/?directConnection=true", serverSelectionTimeoutMS=20000) as client:
                orders = commented(client.shop.orders)

                def load_order():
                    orders.find_one({"_id": 7})

                def save_order():
                    orders.update_one({"_id": 7}, {"$set": {"paid": True}}, upsert=True)
                    orders.insert_one({"_id": 8})

                def report():
                    list(orders.aggregate([{"$count": "orders"}]))
                    orders.count_documents({})

                load_order()
                save_order()
                report()
        told = [(next(iter(command)), function_of(command["comment"])) for command in seen if "comment" in command]
        wanted = [("find", "load_order"), ("update", "save_order"), ("insert", "save_order"), ("aggregate", "report"), ("aggregate", "report")]
        self.assertEqual(told, [(command, f"{HERE}.{function}") for command, function in wanted])
