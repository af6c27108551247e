/**
 * Packages, loaded when they are first needed. `pinAxios` is synchronous, and so is reading its pins file: an ES module has no
 * synchronous way to load another late. This file is CommonJS in both builds, where `require` is one, and bundlers see it.
 */

export function loadJsonc(): typeof import('jsonc-parser') {
  return require('jsonc-parser') as typeof import('jsonc-parser')
}

export function loadYaml(): typeof import('yaml') {
  return require('yaml') as typeof import('yaml')
}

export function loadAjv(): typeof import('ajv/dist/2020.js') {
  return require('ajv/dist/2020.js') as typeof import('ajv/dist/2020.js')
}

/** For error texts only. */
export function loadLevenshtein(): typeof import('fastest-levenshtein') {
  return require('fastest-levenshtein') as typeof import('fastest-levenshtein')
}

/**
 * An optional peer.
 * @throws {Error} with the code `MODULE_NOT_FOUND` when it is not installed
 */
export function loadUndici(): typeof import('undici') {
  return require('undici') as typeof import('undici')
}

export function loadSaxes(): typeof import('saxes') {
  return require('saxes') as typeof import('saxes')
}
