import { assert } from './assert.ts';

const kib = 1024;
const mib = 1024 * kib;

/** Every limit of the server: unit in the name, then what it bounds and what happens beyond it. */
export const limits = Object.freeze({
  /** One event's body after decoding. Beyond: 413. (The size documented for Postback v2.) */
  bodyBytesMax: 1_048_064,
  /** A body of many records, after decoding. Beyond: 413. */
  batchBodyBytesMax: 5 * mib,
  /** One record of the Data Ingestion API or of a phone. Beyond: refused by its receipt. */
  ingestRecordBytesMax: mib,
  /** Records in one request of the Data Ingestion API. Outside 1 to this: 400. */
  ingestRecordsMax: 500,
  /** Records in one request otherwise. Beyond: 400. */
  requestRecordsMax: 10_000,
  /** Body of a dry run, after decoding. Beyond: 413. */
  explainBodyBytesMax: 64 * kib,
  /** Records of one dry run. Beyond: 400. */
  explainRecordsMax: 100,
  /** Dry runs at once in one edge. Beyond: 503 with Retry-After. */
  explainsMax: 4,
  /** Tables that one request of a phone names. Beyond: 400. */
  requestTablesMax: 100,
  /** Arrays and objects within each other in a body. Beyond: 400. */
  bodyNestingMax: 10_000,
  /** Frames of zstd in one body. Beyond: 400. */
  encodingFramesMax: 100,
  /** Header Idempotency-Key, characters. Beyond: 400. */
  idempotencyKeyMax: 255,
  /** Name of a JSONP callback, characters. Beyond: 400. */
  callbackMax: 128,
  /** A refused body is read to its end up to this. Beyond: answered and cut off. */
  discardBytesMax: 16 * mib,
  /** Request line, where a page's record can be, and headers. Beyond: 431, connection closed. */
  headerBytesMax: 64 * kib,
  /** Headers of one request. Beyond: 431, connection closed. */
  headersMax: 100,
  /** Write key as sent. Beyond: 400. */
  keyBytesMax: 256,
  /** From a connection's first byte to the end of its headers. Beyond: 408, closed. */
  headersTimeoutMs: 10_000,
  /** From a request's first byte to its last. Beyond: 408, closed. */
  requestTimeoutMs: 30_000,
  /** An idle kept-alive connection. Beyond: closed. */
  keepAliveTimeoutMs: 65_000,
  /** A connection on which no byte moves. Beyond: cut; amid an answer, after twice that. */
  stillTimeoutMs: 95_000,
  /** The head of a request that the hot lane reads. Beyond: Node's parser reads it. */
  hotHeadBytesMax: 8 * kib,
  /** A head of that many bytes is kept, to be known again. Beyond: the next one is read anew. */
  hotHeadKeptBytesMax: kib,
  /** Paths whose form and head an edge remembers. Beyond: they are forgotten and read again. */
  pathsKnownMax: 4_000,
  /** Write keys whose fingerprints an edge remembers. Beyond: they are hashed again. */
  keysKnownMax: 256,
  /** Open connections of one edge. Beyond: the one that has been idle for longest is cut. */
  connectionsMax: 10_000,
  /** Requests at once on one connection. Beyond: no more is read of it. */
  requestsInWorkMax: 32,
  /** Requests of connections with others before them that are begun at one turn of an edge … */
  pipelinedPerTurn: 32,
  /** … and that wait for it, having been read. Beyond: the connection is cut. */
  requestsWaitingMax: 20_000,
  /** Requests at once on one connection of HTTP/2. Beyond: the client waits. */
  http2StreamsMax: 100,
  /** Memory of one connection of HTTP/2, its queues included. Beyond: its streams are refused. */
  http2SessionMebibytesMax: 10,
  /** Bodies being read or waiting for the log, one edge. Beyond: 503 with Retry-After. */
  bodyBytesInFlightMax: 192 * mib,
  /** Of what has come on a connection so much is read at once, as Node does. Beyond: next time. */
  readBytesMax: 64 * kib,
  /** A body is large beyond this, or in more pieces … */
  smallBodyBytesMax: 64 * kib,
  smallBodyPiecesMax: 64,
  /** … and takes part of that room only. Beyond: 503 with Retry-After. */
  largeBodyBytesInFlightMax: 128 * mib,
  /** Memory for a large body, and for its record, is a multiple of this … */
  roomStepBytes: 16 * kib,
  /** … and is used again if it is no longer than this; … */
  roomBytesMax: mib,
  /** … so much of it is kept by an edge while it is in no use. Beyond: it is let go. */
  roomBytesKeptMax: 8 * mib,
  /** Pieces of large bodies that are read at one turn of an edge. The others wait their turn. */
  largePiecesPerTurn: 8,
  /** Large bodies that are parsed, or wait for the log, at once. The others wait their turn. */
  largeBodiesInWorkMax: 4,
  /** Bodies that are decoded at once; the others wait their turn … */
  decodingsMax: 2,
  /** … as many as this. Beyond: 503 with Retry-After. */
  decodingsWaitingMax: 100,

  /** One log record: an envelope with its body. Beyond: a bug, since the edge refuses first. */
  recordBytesMax: 8 * mib,
  /** One write to the log. Beyond: the rest goes with the next write. */
  groupBytesMax: 4 * mib,
  /** Records waiting for their write. Beyond: LOG_BUSY, 503 with Retry-After. */
  pendingBytesMax: 64 * mib,
  /** How long the oldest of them waits; disks pause for a second or two. Beyond: LOG_BUSY. */
  pendingMsMax: 3_000,
  /** A segment is sealed once it is this long, or 1/64 of a small disk. */
  segmentBytesMax: 64 * mib,
  segmentBytesMin: mib,
  segmentDiskShare: 1 / 64,
  /** From this length of a segment on, or half of a small one, the next one is prepared. */
  preparedFromBytes: mib,
  /** A segment with records is sealed at this age: what was erased is not kept for longer. */
  segmentAgeMsMax: 60 * 60 * 1000,
  /** Share of the disk kept free for the store to load what is accepted … */
  diskReserveShare: 0.05,
  /** … at least this, or a quarter of a small disk … */
  diskReserveBytesMin: 128 * mib,
  diskReserveShareMax: 0.25,
  /** … and never more than this. Below the reserve: LOG_FULL, 503 with Retry-After. */
  diskReserveBytesMax: 512 * mib,
  /** How often free room is looked at; a synced write at least this often proves the disk. */
  probeEveryMs: 1_000,
  /** Age of the last synced write at which an edge is no longer ready. */
  syncAgeMsMax: 10_000,

  /** Log bytes that one store transaction takes, all shards together. The rest waits. */
  batchBytesMax: 16 * mib,
  /** What it takes at least, after failures have halved it; each success doubles it again. */
  batchBytesMin: 64 * kib,
  /** Memory that is kept from one batch for the next. Beyond: it is given back. */
  spareBytesMax: 64 * mib,
  /** Columns, a kilobyte or so each, of tables of earlier batches. Beyond: looked up anew. */
  plansColumnsMax: 32_768,
  /** Rest between two transactions while nobody waits for a flush … */
  loadEveryMs: 50,
  /** … and a millisecond for so many tables of the one before, if that is more … */
  tablesPerRestMs: 2,
  /** … and they had fewer events each than this … */
  tableEventsMin: 20,
  /** … but not more than this: rows are to be there within a second. */
  loadEveryMsMax: 400,
  /** Wait before a failed load is tried again: doubled each time up to this. */
  loadRetryMsMax: 5_000,
  /** What queries and compaction may spill to disk. Beyond: they fail. */
  storeSpillBytesMax: 4096 * mib,
  /** Arrays and objects within each other in a JSON column. Beyond: `_rescued_data`. */
  nestingMax: 500,
  /** Memory that the SQL engine takes before it spills to disk. */
  storeMemoryBytesMax: 1280 * mib,
  /** The same of the one that merges files, which is another. */
  mergeMemoryBytesMax: 384 * mib,
  /** The store's own log is written into its tables beyond this, when the disk has the room. */
  storeWalBytesMax: 16 * mib,
  /** Rows of a table in one transaction that are written one by one, to a table for all … */
  freshRowsOfTableMax: 100,
  /** … if they are no longer than this. Beyond: by a file, which costs more to begin. */
  freshRowBytesMax: 2 * kib,
  /** Rows in that table. Beyond: those of the table with most of them are moved to files. */
  freshRowsMax: 1_000_000,
  /**
   * Rows of a table that are stored together. When a transaction brings that many they go to
   * their place at once, and not by the store's log.
   */
  rowGroupRows: 30_720,
  /** Free room that a transaction leaves, or 1/16 of a small disk. Below: tried again later. */
  storeRoomBytesMin: 8 * mib,
  storeRoomDiskShare: 1 / 16,
  /** How long ids are kept to recognize repeats, at least, by the time of receipt. */
  idsKeptMs: 2 * 60 * 60 * 1000,
  /** How often older ids are removed. */
  forgetIdsEveryMs: 60_000,
  /** Real columns of one table. Beyond: the value goes to `_rescued_data`. */
  columnsMax: 512,
  /** New columns that one event brings to a table with rows. Beyond: all of them are rescued. */
  newColumnsMax: 128,
  /** Bytes of a column's name. Beyond: the value goes to `_rescued_data`. */
  columnNameBytesMax: 255,
  /** Hot rows of a table. Beyond: they are moved to files at once … */
  hotRowsMax: 1_000_000,
  /** … and so at this many bytes, as they came. */
  hotBytesMax: 512 * mib,
  /**
   * … and so when as many as are stored together are this long: the engine has them in memory,
   * some times over, when it moves them. At twice this, loading waits for it.
   */
  hotRowGroupBytesMax: 32 * mib,
  /** Files that one archive makes. Rows of further days share one. */
  archiveDaysMax: 366,
  /** How long files that the catalog did not name at a start are kept aside. Beyond: removed. */
  orphansKeptMs: 7 * 24 * 60 * 60 * 1000,
  /** A file that compaction makes is no longer than this, nor are its values before they shrink. */
  fileBytesMax: 192 * mib,
  filePlainBytesMax: 1536 * mib,
  /** The same of rows that the engine handles at once, of which it has some copies. */
  fileVectorBytesMax: 64 * mib,
  /** Values that a file has in memory while it is written. Beyond: one more row group. */
  fileRowGroupBytesMax: 64 * mib,
  /** Bytes of a file that have a checksum of their own: damage costs what lies in one. */
  pieceBytes: 256 * kib,
  /** Files of a day from which on the smaller ones are merged, also while the day lasts. */
  dayFilesMax: 8,
  /** A file is merged with others that are together at least this share of its size. */
  mergeGrowthMin: 0.5,
  /** How long after its end a day is taken for over. */
  dayOverMs: 60 * 60 * 1000,
  /** How often hot rows are looked at that may be too old to keep. */
  expireEveryMs: 60 * 60 * 1000,
  /** Hot rows that a reload derives while loading waits. Beyond: they go to files before … */
  reloadHotRowsMax: 20_000,
  /** … so often at most. Beyond: RELOAD_DISTURBED. */
  reloadRoundsMax: 20,
  /** Tables of one server. Beyond: the event goes to quarantine, reason `too_many_tables`. */
  tablesMax: 10_000,
  /** Length of a database's or a table's name, characters. Outside: 400. */
  nameLengthMin: 3,
  nameLengthMax: 255,

  /** What is left of the events of a reason when they are too many bytes (`--quarantine-bytes`). */
  quarantineKeptShare: 0.9,
  /** Groups of events in quarantine (reason, key, table) that are looked at or shown at once. */
  parkedGroupsMax: 1_000,
  /** Lines of the ledger below which they are not merged. */
  ledgerLinesMin: 10_000,
  /** Minutes for which the ledger has lines of their own. Beyond: a line an hour … */
  ledgerMinutesKept: 3 * 60,
  /** … and a line a day beyond this. */
  ledgerHoursKept: 7 * 24,
  /** Days for which the skew of senders' clocks is kept. Beyond: forgotten. */
  skewDaysKept: 31,
  /** How often the loader looks for changed keys, and the quarantine's limits. */
  housekeepingEveryMs: 1_000,
  /** How often files are looked after while there is nothing to do. */
  upkeepEveryMs: 1_000,
  /** How long a table rests whose archive or compaction failed; others have their turn. */
  upkeepRetryMs: 60_000,
  /** How often the books are checked, and tables whose rows are counted then. */
  auditEveryMs: 5_000,
  /** Share of the time that checking and merging the books may take. Beyond: more seldom. */
  auditShareMax: 0.02,
  auditTablesMax: 200,
  /** Log bytes that are read to show what waits. Beyond: the rest is not shown by table. */
  waitingBytesMax: 64 * mib,
  /** Marks of a shard that wait for the loader. Beyond: every second one is forgotten. */
  marksMax: 1_000,
  /** How long a sender may ask to wait for its row (Prefer: wait), s. Beyond: this long. */
  preferWaitMax: 30,
  /** Senders of one edge that wait for their rows. Beyond: answered at once. */
  preferWaitersMax: 1_000,
  /** How long a query waits for a receipt. Beyond: NOT_YET, retryable. */
  queryAfterTimeoutMs: 30_000,
  /** Rescued values that are looked at for examples, and examples shown for each column. */
  rescuedLookedAtMax: 1_000,
  rescuedExamplesMax: 3,

  /** Keys in keys.json, revoked ones included. Beyond: the command refuses to add one. */
  keysMax: 10_000,
  /** Alarms on their way to the webhook. Beyond: in the log only. */
  webhooksMax: 30,
  /** How long the webhook may take. Beyond: given up, with a line in the log. */
  webhookTimeoutMs: 5_000,
  /** Lines of the log about wrong keys in one window. Beyond: counted in one more. */
  alarmLinesMax: 20,
  /** Length of such a window; a key is named once in it. */
  alarmEveryMs: 60_000,
  /** How often an edge looks for changes of keys.json. */
  keysRefreshEveryMs: 1_000,
  /** Time of one query that asks for none. Beyond: it is cancelled, QUERY_TIMEOUT. */
  queryTimeoutMs: 60_000,
  /** Time that a query may ask for. Beyond: 400. */
  queryTimeoutMsMax: 60 * 60 * 1000,
  /** Rows and bytes of one answer; a query may ask for less. Beyond: QUERY_TOO_LONG. */
  queryRowsMax: 1_000_000_000,
  queryBytesMax: 64 * 1024 * mib,
  /** Bytes of an answer that are held back, so that an early error is an HTTP status. */
  queryHeldBytes: 64 * kib,
  /** Queries at once. Beyond: QUERY_BUSY, retryable. */
  queriesMax: 10,
  /** Memory that queries hold and the engine cannot spill. Beyond: one ends, QUERY_MEMORY. */
  queryMemoryBytesMax: 640 * mib,
  /** Memory of the store's process while queries run. Beyond: it is started anew. */
  storeProcessBytesMax: 6 * 1024 * mib,
  /** How often that is looked at. */
  queryWatchEveryMs: 100,
  /** How long a query may go on that was told to end. Beyond: the process is started anew. */
  queryStuckMs: 60_000,
  /** Queries that have ended and are still told of by their id. Beyond: the oldest is forgotten. */
  queriesEndedKept: 100,
  /** Length of one SQL text, its parameters included. Beyond: 413. */
  sqlBytesMax: mib,
  /** Expressions, tables and the like in one SQL text, constants aside. Beyond: QUERY_REFUSED. */
  sqlPartsMax: 10_000,
  /** How long `flush` waits. Beyond: FLUSH_TIMEOUT, retryable. */
  flushTimeoutMs: 120_000,

  /** How long a process waits for the locks of one that is still draining. */
  lockWaitMs: 15_000,
  /** Bytes that wait for another server's process, or of one message. Beyond: the line is cut. */
  lineBytesMax: 64 * mib,
  /** Wait before a process that died is started again: doubled each time up to this. */
  restartMsMax: 10_000,
  /** A process that lived this long starts with the shortest wait again. */
  restartResetMs: 60_000,
  /** How long a drain waits for senders. Beyond: their connections are cut, unanswered. */
  edgeDrainMs: 10_000,
  /** How long a drain may take before a process is killed. What it held is on disk. */
  drainTimeoutMs: 60_000,
});

assert(
  limits.batchBodyBytesMax + 4 * limits.requestRecordsMax < limits.recordBytesMax,
  'a request fits in a record',
);
assert(limits.recordBytesMax <= limits.batchBytesMax, 'a record fits in a batch');
assert(limits.groupBytesMax <= limits.segmentBytesMax, 'a group is no longer than a segment');
assert(
  limits.stillTimeoutMs >= limits.keepAliveTimeoutMs + limits.requestTimeoutMs,
  'a connection is cut only when no other limit has ended it',
);
assert(limits.largeBodyBytesInFlightMax < limits.bodyBytesInFlightMax, 'small ones have room');
assert(limits.edgeDrainMs < limits.lockWaitMs, 'a lock outlasts a drain');
assert(limits.probeEveryMs * 2 < limits.syncAgeMsMax, 'a missed probe does not end readiness');

/** Free bytes below which a disk of `diskBytes` takes no more events. */
export function reserveBytes(diskBytes: number): number {
  const { diskReserveShare, diskReserveBytesMin, diskReserveShareMax } = limits;
  const least = Math.min(diskReserveBytesMin, diskBytes * diskReserveShareMax);
  const share = Math.max(diskBytes * diskReserveShare, least);
  return Math.floor(Math.min(limits.diskReserveBytesMax, share));
}

/** Length of a segment on a disk of `diskBytes`: a small disk needs its old ones dropped soon. */
export function segmentBytes(diskBytes: number): number {
  const share = Math.floor(diskBytes * limits.segmentDiskShare);
  return Math.max(limits.segmentBytesMin, Math.min(limits.segmentBytesMax, share));
}
