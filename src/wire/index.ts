/**
 * The forms in which clients speak. Pure: a request in, what to store and what to answer out.
 *
 * Promises
 *  1. `routes` holds every form: which paths and methods it has, how it reads a request, and how
 *     its clients read a refusal. docs/postback.md is the contract, item by item.
 *  2. Of the sender only what an event asks for is kept: address, User-Agent, id across sites.
 *  3. Nothing of a request comes back as a script or as HTML, except a callback whose name is one.
 *
 * Invariants
 *  1. Every body of a submission is valid UTF-8 and a JSON object, byte for byte as it was sent.
 *  2. All records of a request are in one submission: durable together, or not at all.
 *  3. A refusal is a thrown fault of the catalogue; the route gives it its client's shape.
 *
 * Limits: `bodyBytesMax`, `batchBodyBytesMax`, `ingestRecordBytesMax`, `ingestRecordsMax`,
 * `requestRecordsMax`, `keyBytesMax`, `idempotencyKeyMax`, `callbackMax`.
 */
export { accepted, readableJson, refusal } from './answers.ts';
export { corsHeaders, preflight } from './cors.ts';
export { type Answer, type Headers, headersRead, type Outcome, Query } from './request.ts';
export type { WireRequest, WireSettings } from './request.ts';
export { findRoute, type Found, type Route, type RouteName } from './routes.ts';
export { routes, splitTarget } from './routes.ts';
