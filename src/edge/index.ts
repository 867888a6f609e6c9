/**
 * HTTP in, acknowledgement out. A connection of HTTP/1.1 begins in the hot lane (`hot.ts`), which
 * reads what is simple; all else is read by Node. Both end in one `Receiver`.
 *
 * Promises
 *  1. A success is written only after the log says that every event of the request is on disk.
 *  2. What is answered otherwise is not stored; only a connection that was cut leaves it open.
 *  3. No input crashes the process, hangs a connection or grows memory without bound.
 *
 * Invariants
 *  1. What a request means is the wire's; the edge moves bytes. It knows no tables and no rows, and
 *     asks of a key only what its owner wants asked at once (`KeyPolicy`).
 *  2. Every refusal is an entry of the error catalogue, in the shape of its route's clients.
 *  3. Labels of metrics come from closed lists.
 *  4. What one sender asks for does not decide how long others wait: large and encoded bodies and
 *     pipelined requests take turns, a few at each turn of the event loop, and leave room.
 *  5. What the hot lane does not surely understand goes to Node, with all that follows it.
 *  6. What the hot lane reads stands in memory of all connections (`reads.ts`): what is to stay
 *     longer than the step in which it was read is copied.
 *
 * Limits: `bodyBytesMax`, `batchBodyBytesMax`, `headerBytesMax`, `headersMax`, `headersTimeoutMs`,
 * `requestTimeoutMs`, `keepAliveTimeoutMs`, `connectionsMax`, `readBytesMax`, `requestsInWorkMax`,
 * `pipelinedPerTurn`, `requestsWaitingMax`, `bodyBytesInFlightMax`, `smallBodyBytesMax`,
 * `smallBodyPiecesMax`, `largeBodyBytesInFlightMax`, `roomStepBytes`, `roomBytesMax`,
 * `roomBytesKeptMax`, `largePiecesPerTurn`, `largeBodiesInWorkMax`, `hotHeadBytesMax`,
 * `hotHeadKeptBytesMax`, `pathsKnownMax`, `decodingsMax`, `decodingsWaitingMax`,
 * `http2StreamsMax`, `http2SessionMebibytesMax`, `preferWaitMax`, `preferWaitersMax`.
 */
export { Edge, type EdgeOptions } from './edge.ts';
