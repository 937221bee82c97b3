//! Reading and writing.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use fyke_mongo_server::Pose;
use mongodb::{
    IndexModel,
    options::{IndexOptions, InsertOneModel, ReturnDocument, UpdateOneModel, WriteModel},
};

use crate::support::{client, code, numbered, server, things};

#[tokio::test]
async fn documents_are_inserted_found_changed_and_deleted() {
    let server = server(Pose::Standalone).await;
    let things = things(&client(&server).await);
    things.insert_one(doc! { "_id": 1, "a": 1, "in": { "side": 5 }, "tags": ["x"] }).await.unwrap();
    things.insert_many((2..50).map(|id| doc! { "_id": id, "a": id % 3 })).await.unwrap();
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 49);
    assert_eq!(things.estimated_document_count().await.unwrap(), 49);
    assert_eq!(things.find_one(doc! { "in.side": { "$gte": 5 } }).await.unwrap().unwrap().get_i32("_id").unwrap(), 1);

    let found: Vec<Document> = things
        .find(doc! { "a": 1 })
        .sort(doc! { "_id": -1 })
        .skip(1)
        .limit(2)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let ids: Vec<i32> = found.iter().map(|document| document.get_i32("_id").unwrap()).collect();
    assert_eq!(ids, [46, 43]);

    let updated = things
        .update_one(doc! { "_id": 1 }, doc! { "$inc": { "a": 4 }, "$push": { "tags": "y" }, "$unset": { "in": "" } });
    assert_eq!(updated.await.unwrap().modified_count, 1);
    assert_eq!(
        things.find_one(doc! { "_id": 1 }).await.unwrap().unwrap(),
        doc! { "_id": 1, "a": 5, "tags": ["x", "y"] }
    );
    let updated = things.update_many(doc! { "a": 2 }, doc! { "$set": { "a": 2 } }).await.unwrap();
    assert_eq!((updated.matched_count, updated.modified_count), (16, 0));
    let upserted = things.update_one(doc! { "_id": "new" }, doc! { "$set": { "v": 1 } }).upsert(true).await.unwrap();
    assert_eq!(upserted.upserted_id.unwrap().as_str(), Some("new"));
    things.replace_one(doc! { "_id": "new" }, doc! { "w": 2 }).await.unwrap();
    let after = things
        .find_one_and_update(doc! { "_id": "new" }, doc! { "$inc": { "w": 1 } })
        .return_document(ReturnDocument::After)
        .projection(doc! { "_id": 0 });
    assert_eq!(after.await.unwrap().unwrap(), doc! { "w": 3 });
    let last = things.find_one_and_delete(doc! { "a": 1 }).sort(doc! { "_id": -1 }).await.unwrap().unwrap();
    assert_eq!(last.get_i32("_id").unwrap(), 49);
    assert_eq!(things.delete_many(doc! { "a": 2 }).await.unwrap().deleted_count, 16);
    assert_eq!(things.distinct("a", doc! {}).await.unwrap(), [0, 1, 5].map(bson::Bson::Int32));
}

#[tokio::test]
async fn duplicates_are_refused_and_unordered_inserts_go_on() {
    let server = server(Pose::Standalone).await;
    let things = things(&client(&server).await);
    things.insert_one(doc! { "_id": 1 }).await.unwrap();
    let error = things.insert_one(doc! { "_id": 1.0 }).await.unwrap_err();
    assert_eq!(code(&error), Some(11000));
    things.insert_many(numbered(3)).await.unwrap_err();
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 2);
    things.insert_many(numbered(3)).ordered(false).await.unwrap_err();
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 3);

    let unique =
        IndexModel::builder().keys(doc! { "k": 1 }).options(IndexOptions::builder().unique(true).build()).build();
    things.create_index(unique).await.unwrap();
    assert_eq!(things.list_index_names().await.unwrap(), ["_id_", "k_1"]);
    things.update_one(doc! { "_id": 0 }, doc! { "$set": { "k": 1 } }).await.unwrap();
    assert_eq!(
        code(&things.update_one(doc! { "_id": 1 }, doc! { "$set": { "k": 1 } }).await.unwrap_err()),
        Some(11000)
    );
}

#[tokio::test]
async fn pipelines_group_and_count() {
    let server = server(Pose::Standalone).await;
    let things = things(&client(&server).await);
    things.insert_many((0..9).map(|id| doc! { "_id": id, "k": id % 2, "v": id })).await.unwrap();
    let stages = [
        doc! { "$match": { "_id": { "$gt": 0 } } },
        doc! { "$group": { "_id": "$k", "n": { "$sum": 1 }, "mean": { "$avg": "$v" }, "low": { "$min": "$v" }, "all": { "$push": "$v" } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let groups: Vec<Document> = things.aggregate(stages).await.unwrap().try_collect().await.unwrap();
    assert_eq!(groups[0], doc! { "_id": 0, "n": 4, "mean": 5.0, "low": 2, "all": [2, 4, 6, 8] });
    let stages = [
        doc! { "$skip": 2 },
        doc! { "$limit": 5 },
        doc! { "$project": { "_id": 0, "w": { "$add": ["$v", 1] } } },
        doc! { "$count": "n" },
    ];
    let counted: Vec<Document> = things.aggregate(stages).await.unwrap().try_collect().await.unwrap();
    assert_eq!(counted, [doc! { "n": 5 }]);
    let error = things.aggregate([doc! { "$nope": {} }]).await.unwrap_err();
    assert_eq!(code(&error), Some(40324));
}

#[tokio::test]
async fn databases_and_collections_are_listed_created_and_dropped() {
    let server = server(Pose::Standalone).await;
    let client = client(&server).await;
    let database = client.database("shop");
    database.create_collection("orders").await.unwrap();
    database.collection::<Document>("items").insert_one(doc! {}).await.unwrap();
    let mut names = database.list_collection_names().await.unwrap();
    names.sort();
    assert_eq!(names, ["items", "orders"]);
    assert_eq!(client.list_database_names().await.unwrap(), ["shop"]);
    database.collection::<Document>("items").drop().await.unwrap();
    assert_eq!(database.list_collection_names().await.unwrap(), ["orders"]);
    database.drop().await.unwrap();
    assert!(client.list_database_names().await.unwrap().is_empty());
    let error = database.run_command(doc! { "noSuchCommand": 1 }).await.unwrap_err();
    assert_eq!(code(&error), Some(59));
}

#[tokio::test]
async fn bulk_writes_reach_several_collections() {
    let server = server(Pose::Mongos).await;
    let client = client(&server).await;
    let namespace = |collection: &str| mongodb::Namespace::new("test", collection);
    let insert = |collection, document| {
        WriteModel::InsertOne(InsertOneModel::builder().namespace(namespace(collection)).document(document).build())
    };
    let update = UpdateOneModel::builder()
        .namespace(namespace("a"))
        .filter(doc! { "_id": 1 })
        .update(doc! { "$set": { "v": 1 } })
        .build();
    let models = [insert("a", doc! { "_id": 1 }), insert("b", doc! { "_id": 1 }), WriteModel::UpdateOne(update)];
    let result = client.bulk_write(models).verbose_results().await.unwrap();
    assert_eq!((result.summary.inserted_count, result.summary.modified_count), (2, 1));
    assert_eq!(server.log().count("bulkWrite"), 1);
}
