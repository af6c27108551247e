/**
 * What is loaded when it is first needed: packages, and the parts of this one that an option or a call asks for. `pinAxios` is
 * synchronous, and so is reading its pins file: an ES module has no synchronous way to load another late. This file is
 * CommonJS in both builds, where `require` is one, and bundlers see it. Nothing that decides about a peer is loaded late.
 */

export function loadPinsFile(): typeof import('./formats/pins-file.js') {
  return require('./formats/pins-file.js') as typeof import('./formats/pins-file.js')
}

export function loadTelemetry(): typeof import('./report/telemetry.js') {
  return require('./report/telemetry.js') as typeof import('./report/telemetry.js')
}

export function loadReportQueue(): typeof import('./report/report-queue.js') {
  return require('./report/report-queue.js') as typeof import('./report/report-queue.js')
}

export function loadDelivery(): typeof import('./transport/report-delivery.js') {
  return require('./transport/report-delivery.js') as typeof import('./transport/report-delivery.js')
}

export function loadDispatcher(): typeof import('./transport/dispatcher.js') {
  return require('./transport/dispatcher.js') as typeof import('./transport/dispatcher.js')
}

export function loadUpdates(): typeof import('./update/parts.js') {
  return require('./update/parts.js') as typeof import('./update/parts.js')
}

export function loadJsonc(): typeof import('jsonc-parser') {
  return require('jsonc-parser') as typeof import('jsonc-parser')
}

export function loadYaml(): typeof import('yaml') {
  return require('yaml') as typeof import('yaml')
}

export function loadAjv(): typeof import('ajv/dist/2020.js') {
  return require('ajv/dist/2020.js') as typeof import('ajv/dist/2020.js')
}

/** For programs whose environment names a proxy. */
export function loadProxyFromEnv(): typeof import('proxy-from-env') {
  return require('proxy-from-env') as typeof import('proxy-from-env')
}

/** For error texts only. */
export function loadLevenshtein(): typeof import('fastest-levenshtein') {
  return require('fastest-levenshtein') as typeof import('fastest-levenshtein')
}

/**
 * An optional peer.
 * @throws {Error} when it is not installed
 */
export function loadUndici(): typeof import('undici') {
  // Within `try` bundlers may go on without it.
  try {
    return require('undici') as typeof import('undici')
  } catch (cause) {
    throw new Error('undici cannot be loaded', { cause })
  }
}

export function loadSaxes(): typeof import('saxes') {
  return require('saxes') as typeof import('saxes')
}
