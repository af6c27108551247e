/**
 * The parsers, loaded when a file is first read. `pinAxios` is synchronous, and so is reading its pins file: an ES module
 * has no synchronous way to load another late. This file is CommonJS in both builds, where `require` is one, and bundlers see it.
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

export function loadSaxes(): typeof import('saxes') {
  return require('saxes') as typeof import('saxes')
}
