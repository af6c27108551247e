/**
 * The package undici, an optional peer, when it is first needed.
 *
 * A CommonJS file in both builds: undici is CommonJS too, and so it can be loaded without waiting for it.
 * @throws {Error} with the code `MODULE_NOT_FOUND` when it is not installed
 */
export function loadUndici(): typeof import('undici') {
  return require('undici') as typeof import('undici')
}
