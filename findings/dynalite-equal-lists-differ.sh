#!/usr/bin/env bash
# dynalite 4.0.0 (npm, a DynamoDB for tests): a condition finds no list and no map equal to itself, and the failure comes without the item.
#
# A good guess is that "v = :v" holds if :v is what a strongly consistent read gave a moment ago; that is how optimistic locking on
# a whole attribute works. It does for strings, numbers and sets, and never for lists and maps. Another good guess is that
# ConditionalCheckFailedException carries Item if ReturnValuesOnConditionCheckFailure is ALL_OLD, as DynamoDB's API reference says.
# dynalite takes the parameter and leaves Item out, also where the condition is rightly false.
#
# Seen: the write back of what was just read succeeds for {"S":"x"}, {"N":"7"} and {"SS":["a","b"]}. For {"L":[{"S":"x"}]} and
# {"M":{"k":{"S":"x"}}} it fails with ConditionalCheckFailedException, without Item. So it does for a string that really differs.
#
# Why it matters to a proxy: its tools keep routes, with lists of origins, in such a table. A tool that takes "no Item" for
# "somebody else has deleted it" says "removed" of a route that is still in force. It has to read once more before it says so.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private": true}' >package.json
timeout -k 5 300 npm install --silent --no-audit --no-fund --cache "$dir/cache" dynalite@4.0.0 @aws-sdk/client-dynamodb@3.1169.0

cat >try.mjs <<'JS'
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import dynalite from "dynalite";
import {
  CreateTableCommand, DescribeTableCommand, DynamoDBClient, GetItemCommand, PutItemCommand,
} from "@aws-sdk/client-dynamodb";

const TableName = "routes";
const server = dynalite({ createTableMs: 0 });
server.listen(0, "127.0.0.1");
await once(server, "listening");
const db = new DynamoDBClient({
  endpoint: `http://127.0.0.1:${server.address().port}`,
  region: "us-east-1",
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
});

await db.send(new CreateTableCommand({
  TableName,
  BillingMode: "PAY_PER_REQUEST",
  AttributeDefinitions: [{ AttributeName: "host", AttributeType: "S" }],
  KeySchema: [{ AttributeName: "host", KeyType: "HASH" }],
}));
while ((await db.send(new DescribeTableCommand({ TableName }))).Table.TableStatus !== "ACTIVE") await sleep(20);

// write stores value, and then again on the condition that the stored value equals expected, or what a read gives if there is no expected.
async function write(value, expected) {
  const Item = { host: { S: "a.example" }, v: value };
  await db.send(new PutItemCommand({ TableName, Item }));
  const read = await db.send(new GetItemCommand({ TableName, Key: { host: Item.host }, ConsistentRead: true }));
  const outcome = { value: JSON.stringify(read.Item.v), held: true, item: false };
  try {
    await db.send(new PutItemCommand({
      TableName,
      Item,
      ConditionExpression: "v = :v",
      ExpressionAttributeValues: { ":v": expected ?? read.Item.v },
      ReturnValuesOnConditionCheckFailure: "ALL_OLD",
    }));
  } catch (error) {
    if (error.name !== "ConditionalCheckFailedException") throw error;
    outcome.held = false;
    outcome.item = error.Item !== undefined;
  }
  const end = outcome.held ? "holds" : `ConditionalCheckFailedException, ${outcome.item ? "with" : "without"} Item`;
  console.log(`stored ${outcome.value}, v = ${expected ? JSON.stringify(expected) : "what was read"}: ${end}`);
  return outcome;
}

const plain = [await write({ S: "x" }), await write({ N: "7" }), await write({ SS: ["a", "b"] })];
const deep = [await write({ L: [{ S: "x" }] }), await write({ M: { k: { S: "x" } } })];
const other = await write({ S: "x" }, { S: "y" });
db.destroy();
server.close();

if (plain.every((o) => o.held) && [...deep, other].every((o) => !o.held && !o.item)) {
  console.log("as described: lists and maps equal nothing, and no failure says what is stored");
} else {
  console.error("changed: see the lines above");
  process.exitCode = 1;
}
JS
NODE_NO_WARNINGS=1 timeout -k 5 60 node try.mjs
