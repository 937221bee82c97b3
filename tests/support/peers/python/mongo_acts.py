"""What a client of `mongo_clients.py` does, and what it must be given for it."""

import itertools

from pymongo import CursorType, DeleteOne, InsertOne, ReturnDocument, UpdateOne
from pymongo.write_concern import WriteConcern

# Within so many answers something must come that is there already.
MOST_LOOKS = 50


class Foreign(Exception):
    """What came is another client's, or nobody's."""


class Missing(Exception):
    """What should be there is not, or is more than it should be."""


def expect(what, have, want):
    if have != want:
        raise Missing(f"{what}: {have!r} and not {want!r}")


class Acts:
    """One client's. Each act has documents of its own, which it takes away at its end."""

    NAMES = [
        "read", "read", "read", "batches", "killed", "exhaust", "update", "modify", "aggregate", "bulk", "bulks",
        "transaction", "aborted", "tail", "watch", "unacknowledged", "catalogue",
    ]  # fmt: skip

    def __init__(self, mongo, mark):
        self.mongo, self.mark = mongo, mark
        self.rounds = itertools.count()
        self.round = None
        self.shop = mongo["shop"]
        self.people, self.orders = self.shop["people"], self.shop["orders"]
        self.tailed = self.shop[f"tail{mark}"]

    def prepare(self):
        self.shop.create_collection(self.tailed.name, capped=True, size=1 << 20, max=50)

    def perform(self, name, comment):
        self.round = next(self.rounds)
        getattr(self, name)(comment)

    def documents(self, count):
        return [
            {"_id": f"{self.mark}/{self.round}/{number}", "mark": self.mark, "round": self.round, "n": number}
            for number in range(count)
        ]

    @property
    def mine(self):
        return {"mark": self.mark, "round": self.round}

    def own(self, documents):
        """The same documents, all of which are this act's."""
        documents = list(documents)
        for document in documents:
            if document is None:
                raise Missing("a document")
            if (document["mark"], document["round"]) != (self.mark, self.round):
                raise Foreign(f"{document!r} for client {self.mark} in round {self.round}")
        return documents

    def stored(self, collection, count, comment):
        documents = self.documents(count)
        collection.insert_many(documents, comment=comment)
        return documents

    def removed(self, collection, count, comment):
        expect("deleted", collection.delete_many(self.mine, comment=comment).deleted_count, count)

    # What drivers try again by themselves.

    def read(self, comment):
        [document] = self.documents(1)
        self.people.insert_one(document, comment=comment)
        found = self.people.find_one({"_id": document["_id"]}, comment=comment)
        expect("found", self.own([found]), [document])
        expect("deleted", self.people.delete_one({"_id": document["_id"]}, comment=comment).deleted_count, 1)

    def update(self, comment):
        [document] = self.documents(1)
        key = {"_id": document["_id"]}
        self.orders.insert_one(document, comment=comment)
        expect("modified", self.orders.update_one(key, {"$inc": {"n": 7}}, comment=comment).modified_count, 1)
        found = self.orders.find_one(key, comment=comment)
        expect("found", self.own([found])[0]["n"], 7)
        expect("replaced", self.orders.replace_one(key, document, comment=comment).matched_count, 1)
        expect("deleted", self.orders.delete_one(key, comment=comment).deleted_count, 1)

    def modify(self, comment):
        [document] = self.documents(1)
        key = {"_id": document["_id"], **self.mine}
        more = {"return_document": ReturnDocument.AFTER, "comment": comment}
        found = self.orders.find_one_and_update(key, {"$set": {"n": 1}}, upsert=True, **more)
        expect("n", self.own([found])[0]["n"], 1)
        found = self.orders.find_one_and_replace(key, {**self.mine, "n": 2}, **more)
        expect("n", self.own([found])[0]["n"], 2)
        found = self.orders.find_one_and_delete(key, comment=comment)
        expect("n", self.own([found])[0]["n"], 2)

    def bulk(self, comment):
        documents = self.documents(3)
        writes = [InsertOne(document) for document in documents]
        writes += [UpdateOne({"_id": document["_id"]}, {"$set": {"n": 9}}) for document in documents]
        writes += [DeleteOne({"_id": document["_id"]}) for document in documents]
        result = self.people.bulk_write(writes, comment=comment)
        expect("written", (result.inserted_count, result.modified_count, result.deleted_count), (3, 3, 3))

    def bulks(self, comment):
        namespace = "shop.orders"
        documents = self.documents(3)
        writes = [InsertOne(document, namespace=namespace) for document in documents]
        writes += [DeleteOne({"_id": document["_id"]}, namespace=namespace) for document in documents]
        result = self.mongo.bulk_write(writes, comment=comment)
        expect("written", (result.inserted_count, result.deleted_count), (3, 3))

    def aggregate(self, comment):
        documents = self.stored(self.people, 5, comment)
        stages = [{"$match": self.mine}, {"$group": {"_id": "$mark", "sum": {"$sum": "$n"}}}]
        expect("sums", list(self.people.aggregate(stages, comment=comment)), [{"_id": self.mark, "sum": 10}])
        expect("counted", self.people.count_documents(self.mine, comment=comment), 5)
        expect("distinct", sorted(self.people.distinct("n", self.mine, comment=comment)), [0, 1, 2, 3, 4])
        self.bulk_removed(self.people, documents, comment)

    def bulk_removed(self, collection, documents, comment):
        collection.bulk_write([DeleteOne({"_id": document["_id"]}) for document in documents], comment=comment)

    def transaction(self, comment):
        documents = self.documents(2)

        def write(session):
            for document in documents:
                self.orders.insert_one(document, session=session, comment=comment)
            inside = self.own(self.orders.find(self.mine, session=session, comment=comment))
            expect("inside", len(inside), 2)

        with self.mongo.start_session() as session:
            session.with_transaction(write)
        expect("committed", len(self.own(self.orders.find(self.mine, comment=comment))), 2)
        self.bulk_removed(self.orders, documents, comment)

    def catalogue(self, comment):
        self.shop.command("ping")
        if self.tailed.name not in self.shop.list_collection_names(comment=comment):
            raise Missing(f"no {self.tailed.name}")
        self.people.estimated_document_count(comment=comment)
        if "_id_" not in self.tailed.index_information(comment=comment):
            raise Missing("no index of _id")

    # What they do not try again.

    def batches(self, comment, **more):
        documents = self.stored(self.people, 11, comment)
        found = self.own(self.people.find(self.mine, batch_size=3, comment=comment, **more))
        expect("found", sorted(document["n"] for document in found), [document["n"] for document in documents])
        aggregated = self.own(self.people.aggregate([{"$match": self.mine}], batchSize=4, comment=comment))
        expect("aggregated", len(aggregated), 11)
        self.removed(self.people, 11, comment)

    def exhaust(self, comment):
        self.batches(comment, cursor_type=CursorType.EXHAUST)

    def killed(self, comment):
        self.stored(self.orders, 5, comment)
        cursor = self.orders.find(self.mine, batch_size=2, comment=comment)
        self.own([next(cursor)])
        cursor.close()
        self.removed(self.orders, 5, comment)

    def aborted(self, comment):
        with self.mongo.start_session() as session:
            session.start_transaction()
            [document] = self.documents(1)
            self.orders.insert_one(document, session=session, comment=comment)
            session.abort_transaction()
        expect("left", self.orders.find_one({"_id": document["_id"]}, comment=comment), None)

    def tail(self, comment):
        first, second = self.documents(2)
        self.tailed.insert_one(first, comment=comment)
        cursor = self.tailed.find(self.mine, cursor_type=CursorType.TAILABLE_AWAIT, comment=comment)
        cursor.max_await_time_ms(20)
        expect("first", self.own([next(cursor)]), [first])
        self.tailed.insert_one(second, comment=comment)
        for _ in range(MOST_LOOKS):
            found = self.own(itertools.islice(cursor, 1))
            if found:
                break
        expect("second", found, [second])
        cursor.close()

    def watch(self, comment):
        [document] = self.documents(1)
        stages = [{"$match": {"fullDocument.mark": self.mark, "fullDocument.round": self.round}}]
        with self.people.watch(stages, max_await_time_ms=20, comment=comment) as stream:
            self.people.insert_one(document, comment=comment)
            for _ in range(MOST_LOOKS):
                change = stream.try_next()
                if change:
                    break
            expect("change", change and self.own([change["fullDocument"]]), [document])
        self.removed(self.people, 1, comment)

    def unacknowledged(self, comment):
        collection = self.orders.with_options(write_concern=WriteConcern(w=0))
        collection.update_many({**self.mine, "n": -1}, {"$set": {"n": -2}}, comment=comment)
        expect("left", self.orders.find_one(self.mine, comment=comment), None)
