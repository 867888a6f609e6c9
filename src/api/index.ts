/**
 * The description of the wire, for people and tools.
 *
 * Promises
 *  1. `openapiText` is an OpenAPI 3.1 document of every route of the wire and of the documents
 *     themselves, and of nothing else.
 *  2. `pages` serves it as JSON, as YAML and as a page that needs nothing from elsewhere.
 *  3. Every example is a request that works once a key is put in, or an answer that is given.
 *
 * Invariants
 *  1. Paths, names in paths, limits and refusals come from `routes`, `limits` and the catalogue of
 *     errors; only what those cannot say is written by hand.
 *  2. A route, a path or a method that is not described fails an assertion.
 *  3. Nothing gets into the page but through `html`, which escapes it. The page's policy lets run
 *     its own script alone.
 */
export { openapiText, pages } from './pages.ts';
