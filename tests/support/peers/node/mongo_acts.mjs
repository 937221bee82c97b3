// What a client of mongo_clients.mjs does, and what it must be given for it.

import assert from 'node:assert/strict';

// Within so many answers something must come that is there already.
const MOST_LOOKS = 50;

export const NAMES = [
  'read', 'read', 'read', 'update', 'modify', 'bulk', 'bulks', 'aggregate', 'transaction', 'catalogue',
  'batches', 'killed', 'aborted', 'tail', 'watch', 'unacknowledged',
];

/** What came is another client's, or nobody's. */
export class Foreign extends Error {}

/** One client's. Each act has documents of its own, which it takes away at its end. */
export class Acts {
  round = 0;

  constructor(mongo, mark) {
    this.mongo = mongo;
    this.mark = mark;
    this.shop = mongo.db('shop');
    this.people = this.shop.collection('people');
    this.orders = this.shop.collection('orders');
    this.tailed = this.shop.collection(`tail${mark}`);
  }

  async prepare() {
    await this.shop.createCollection(this.tailed.collectionName, { capped: true, size: 1 << 20, max: 50 });
  }

  async perform(name, comment) {
    this.round += 1;
    await this[name](comment === undefined ? {} : { comment });
  }

  documents(count) {
    const { mark, round } = this;
    return Array.from({ length: count }, (_, n) => ({ _id: `${mark}/${round}/${n}`, mark, round, n }));
  }

  get mine() {
    return { mark: this.mark, round: this.round };
  }

  /** The same documents, all of which are this act's. */
  own(documents) {
    for (const { mark, round } of documents) {
      if (mark !== this.mark || round !== this.round) {
        throw new Foreign(`of client ${mark} in round ${round} for client ${this.mark} in round ${this.round}`);
      }
    }
    return documents;
  }

  async stored(collection, count, options) {
    const documents = this.documents(count);
    await collection.insertMany(documents, options);
    return documents;
  }

  async removed(collection, count, options) {
    assert.equal((await collection.deleteMany(this.mine, options)).deletedCount, count);
  }

  // What drivers try again by themselves.

  async read(options) {
    const [document] = this.documents(1);
    const key = { _id: document._id };
    await this.people.insertOne(document, options);
    assert.deepEqual(this.own([await this.people.findOne(key, options)]), [document]);
    assert.equal((await this.people.deleteOne(key, options)).deletedCount, 1);
  }

  async update(options) {
    const [document] = this.documents(1);
    const key = { _id: document._id };
    await this.orders.insertOne(document, options);
    assert.equal((await this.orders.updateOne(key, { $inc: { n: 7 } }, options)).modifiedCount, 1);
    assert.equal(this.own([await this.orders.findOne(key, options)])[0].n, 7);
    assert.equal((await this.orders.replaceOne(key, { ...this.mine, n: 0 }, options)).matchedCount, 1);
    assert.equal((await this.orders.deleteOne(key, options)).deletedCount, 1);
  }

  async modify(options) {
    const key = { _id: this.documents(1)[0]._id, ...this.mine };
    const more = { ...options, returnDocument: 'after' };
    const updated = await this.orders.findOneAndUpdate(key, { $set: { n: 1 } }, { ...more, upsert: true });
    assert.equal(this.own([updated])[0].n, 1);
    assert.equal(this.own([await this.orders.findOneAndReplace(key, { ...this.mine, n: 2 }, more)])[0].n, 2);
    assert.equal(this.own([await this.orders.findOneAndDelete(key, options)])[0].n, 2);
  }

  async bulk(options) {
    const documents = this.documents(3);
    const result = await this.people.bulkWrite(
      [
        ...documents.map((document) => ({ insertOne: { document } })),
        ...documents.map(({ _id }) => ({ updateOne: { filter: { _id }, update: { $set: { n: 9 } } } })),
        ...documents.map(({ _id }) => ({ deleteOne: { filter: { _id } } })),
      ],
      options,
    );
    assert.deepEqual([result.insertedCount, result.modifiedCount, result.deletedCount], [3, 3, 3]);
  }

  async bulks(options) {
    const namespace = 'shop.orders';
    const documents = this.documents(3);
    const result = await this.mongo.bulkWrite(
      [
        ...documents.map((document) => ({ name: 'insertOne', namespace, document })),
        ...documents.map(({ _id }) => ({ name: 'deleteOne', namespace, filter: { _id } })),
      ],
      options,
    );
    assert.deepEqual([result.insertedCount, result.deletedCount], [3, 3]);
  }

  async aggregate(options) {
    await this.stored(this.people, 5, options);
    const stages = [{ $match: this.mine }, { $group: { _id: '$mark', sum: { $sum: '$n' } } }];
    assert.deepEqual(await this.people.aggregate(stages, options).toArray(), [{ _id: this.mark, sum: 10 }]);
    assert.equal(await this.people.countDocuments(this.mine, options), 5);
    assert.deepEqual((await this.people.distinct('n', this.mine, options)).sort(), [0, 1, 2, 3, 4]);
    await this.removed(this.people, 5, options);
  }

  async transaction(options) {
    const documents = this.documents(2);
    await this.mongo.withSession((session) =>
      session.withTransaction(async () => {
        for (const document of documents) await this.orders.insertOne(document, { ...options, session });
        const inside = await this.orders.find(this.mine, { ...options, session }).toArray();
        assert.equal(this.own(inside).length, 2);
      }),
    );
    assert.equal(this.own(await this.orders.find(this.mine, options).toArray()).length, 2);
    await this.removed(this.orders, 2, options);
  }

  async catalogue(options) {
    await this.shop.command({ ping: 1 });
    const names = (await this.shop.listCollections({}, options).toArray()).map(({ name }) => name);
    assert.ok(names.includes(this.tailed.collectionName), `${names}`);
    await this.people.estimatedDocumentCount(options);
  }

  // What they do not try again.

  async batches(options) {
    await this.stored(this.people, 11, options);
    const found = await this.people.find(this.mine, { ...options, batchSize: 3 }).toArray();
    assert.equal(this.own(found).length, 11);
    const aggregated = await this.people.aggregate([{ $match: this.mine }], { ...options, batchSize: 4 }).toArray();
    assert.equal(this.own(aggregated).length, 11);
    await this.removed(this.people, 11, options);
  }

  async killed(options) {
    await this.stored(this.orders, 5, options);
    const cursor = this.orders.find(this.mine, { ...options, batchSize: 2 });
    this.own([await cursor.next()]);
    await cursor.close();
    await this.removed(this.orders, 5, options);
  }

  async aborted(options) {
    const [document] = this.documents(1);
    await this.mongo.withSession(async (session) => {
      session.startTransaction();
      await this.orders.insertOne(document, { ...options, session });
      await session.abortTransaction();
    });
    assert.equal(await this.orders.findOne({ _id: document._id }, options), null);
  }

  async tail(options) {
    const [first, second] = this.documents(2);
    await this.tailed.insertOne(first, options);
    const cursor = this.tailed.find(this.mine, { ...options, tailable: true, awaitData: true, maxAwaitTimeMS: 20 });
    assert.deepEqual(this.own([await cursor.next()]), [first]);
    await this.tailed.insertOne(second, options);
    await this.awaited(() => cursor.tryNext(), second);
    await cursor.close();
  }

  async watch(options) {
    const [document] = this.documents(1);
    const stages = [{ $match: { 'fullDocument.mark': this.mark, 'fullDocument.round': this.round } }];
    const stream = this.people.watch(stages, { ...options, maxAwaitTimeMS: 20 });
    // It begins with the first question.
    assert.equal(await stream.tryNext(), null);
    await this.people.insertOne(document, options);
    await this.awaited(async () => (await stream.tryNext())?.fullDocument, document);
    await stream.close();
    await this.removed(this.people, 1, options);
  }

  async awaited(look, wanted) {
    for (let looks = 0; looks < MOST_LOOKS; looks += 1) {
      const found = await look();
      if (found) {
        assert.deepEqual(this.own([found]), [wanted]);
        return;
      }
    }
    assert.fail('what is there does not come');
  }

  async unacknowledged(options) {
    const filter = { ...this.mine, n: -1 };
    await this.orders.updateMany(filter, { $set: { n: -2 } }, { ...options, writeConcern: { w: 0 } });
    assert.equal(await this.orders.findOne(this.mine, options), null);
  }
}
