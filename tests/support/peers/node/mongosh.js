// What is typed into the shell of MongoDB: `mongosh URI --quiet --norc --file mongosh.js`. Says "done" if all is as it must be.

const expect = (what, have, want) => {
  if (EJSON.stringify(have) !== EJSON.stringify(want)) {
    throw new Error(`${what}: ${EJSON.stringify(have)} and not ${EJSON.stringify(want)}`);
  }
};
const shop = db.getSiblingDB('shop');
const site = (name) => JSON.stringify({ callingFunction: name });

shop.shelf.insertMany(Array.from({ length: 25 }, (_, n) => ({ _id: n, n })));
expect('found', shop.shelf.find().batchSize(4).comment(site('list')).toArray().length, 25);
expect('counted', shop.shelf.countDocuments({ n: { $lt: 10 } }), 10);
expect('updated', shop.shelf.updateOne({ _id: 3 }, { $set: { n: 30 } }).modifiedCount, 1);
expect('modified', shop.shelf.findOneAndUpdate({ _id: 3 }, { $inc: { n: 1 } }, { returnDocument: 'after' }).n, 31);
expect('deleted', shop.shelf.deleteMany({ n: { $gte: 20 } }).deletedCount, 6);
const stages = [{ $group: { _id: null, sum: { $sum: '$n' } } }];
expect('sum', shop.shelf.aggregate(stages, { comment: site('sum') }).toArray()[0].sum, 187);

const session = db.getMongo().startSession();
const shelf = session.getDatabase('shop').shelf;
session.startTransaction();
shelf.insertOne({ _id: 100, n: 100 });
expect('outside', shop.shelf.findOne({ _id: 100 }), null);
session.commitTransaction();
expect('committed', shop.shelf.findOne({ _id: 100 }), { _id: 100, n: 100 });
session.startTransaction();
shelf.deleteOne({ _id: 100 });
session.abortTransaction();
session.endSession();
expect('aborted', shop.shelf.findOne({ _id: 100 }), { _id: 100, n: 100 });

shop.createCollection('news', { capped: true, size: 65536 });
shop.news.insertOne({ _id: 1 });
const tail = shop.news.find().tailable({ awaitData: true }).maxAwaitTimeMS(20);
expect('first', tail.tryNext(), { _id: 1 });
shop.news.insertOne({ _id: 2 });
expect('second', tail.tryNext(), { _id: 2 });
tail.close();
print('done');
