"""Says in the comment of each MongoDB operation which function it comes from, where Fyke's filter `mongo` looks for it.

    orders = commented(pymongo.MongoClient(...).shop.orders)

    def load_order(number):
        return orders.find_one({"_id": number})        # comment: {"callingFunction": "shop.load_order"}

MongoDB writes comments into its log of slow operations and its profiler, too. It takes them of every command since 4.4.
"""

import contextlib
import contextvars
import functools
import json
import sys

KEY = "callingFunction"
# As much as the filter reads.
LONGEST = 128

# Methods of collections that take a comment.
METHODS = frozenset({
    "aggregate", "aggregate_raw_batches", "bulk_write", "count_documents", "create_index", "create_indexes", "delete_many", "delete_one",
    "distinct", "drop", "drop_index", "drop_indexes", "estimated_document_count", "find", "find_one", "find_one_and_delete",
    "find_one_and_replace", "find_one_and_update", "find_raw_batches", "index_information", "insert_many", "insert_one", "list_indexes",
    "options", "rename", "replace_one", "update_many", "update_one", "watch",
})

_callsite = contextvars.ContextVar("fyke_callsite", default=None)


@contextlib.contextmanager
def callsite(name):
    """Everything in it comes from `name`: for helpers that many functions share."""
    token = _callsite.set(name)
    try:
        yield
    finally:
        _callsite.reset(token)


def comment(name=None):
    """The text for `comment=` where a collection is not wrapped. Default: the function that calls this."""
    return _text(name or _callsite.get() or _function(sys._getframe(1)))


def commented(collection):
    """The same collection, of pymongo or its asynchronous kin, whose operations have their comment. A comment that the caller gives stays."""
    return Commented(collection)


class Commented:
    def __init__(self, collection):
        self._collection = collection

    def __getattr__(self, name):
        attribute = getattr(self._collection, name)
        if name in METHODS:
            return _with_comment(attribute)
        if name == "with_options":
            return lambda *values, **named: Commented(attribute(*values, **named))
        # shop.orders.archive is a collection as well.
        return Commented(attribute) if isinstance(attribute, type(self._collection)) else attribute

    def __getitem__(self, name):
        return Commented(self._collection[name])

    def __repr__(self):
        return f"commented({self._collection!r})"


def _with_comment(method):
    @functools.wraps(method)
    def call(*values, **named):
        if named.get("comment") is None:
            named["comment"] = _text(_callsite.get() or _function(sys._getframe(1)))
        return method(*values, **named)

    return call


def _function(frame):
    # Comprehensions and lambdas have no name: the function that runs them has.
    while frame.f_code.co_name.startswith("<") and frame.f_code.co_name != "<module>" and frame.f_back:
        frame = frame.f_back
    module, function = frame.f_globals.get("__name__", "__main__"), frame.f_code.co_name
    return function if module == "__main__" else f"{module}.{function}"


def _text(name):
    return json.dumps({KEY: name[-LONGEST:]})
