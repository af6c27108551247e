import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { readChoice, readFunction, readOptions } from '../policy/options.js'
import type { UpdateReport } from '../report/update-report.js'
import type { SigningKeySource } from './keys.js'
import { defaultMaxBytes } from './manifest.js'
import type { PinSetSource } from './source.js'
import { memoryStore } from './store.js'
import type { PinSetStore } from './store.js'
import { SigningTrust } from './trust.js'

/**
 * Signed pin sets that replace the pins in the options while the program runs. Those in the options are the *bootstrap
 * pins*: in force until the first set is, and for the connection to the source.
 */
export interface UpdateOptions {
  /** Where sets come from: `httpsSource(url)`, `fileSource(path)`, `redisSource(client, key)`, `staticSource(text)`, or your own. */
  source: PinSetSource
  /** The public keys whose signatures are trusted. Sets can name further ones, and revoke any. */
  trustedKeys: readonly SigningKeySource[]
  /** How many of the trusted keys must have signed a set. Default 1. */
  threshold?: number
  /** What this program is called in the sets that are meant for it. */
  audience: string
  /** Where the last good set outlives the process: `fileStore(folder)`. Default: `memoryStore()`, which forgets it, and the rollback protection with it. */
  store?: PinSetStore
  /**
   * `'background'` (default): requests are judged by the pins in force. `'before-first-request'`: until the source has been
   * asked once, requests connect but send nothing; at most for `firstRefreshTimeoutMs`, then the pins in force decide.
   */
  updatePolicy?: 'background' | 'before-first-request'
  /**
   * When a program whose store has no set asks the source for the first time: `'at-once'` (default), or, with `'spread'`, at a random
   * moment of the first interval (`refreshMs`; an hour before there is a set), so that a large fleet without disks can be restarted
   * in one moment. Until then the pins in the options count; a connection that they refuse makes it ask at once. No effect with
   * `'before-first-request'`, and with sources that say themselves when there is something new.
   */
  firstRefresh?: 'at-once' | 'spread'
  /** Longest time that requests wait for the store, and for the first set under `'before-first-request'`. Default 5,000. */
  firstRefreshTimeoutMs?: number
  /** Longest time for one answer of the source. Default 10,000. */
  fetchTimeoutMs?: number
  /**
   * When the newest set has expired and there is no other: `'refuse'` (default) refuses every pinned host,
   * `'bootstrap'` goes back to the pins in the options (less what sets have revoked), `'report-only'` lets pass and tells.
   */
  onExpiredSet?: 'refuse' | 'bootstrap' | 'report-only'
  /**
   * When a connection is refused and the source was last asked longer ago than this, it is asked once more before the refusal is
   * final. Also the least time between two such questions. Default 60,000; `Infinity` for never.
   */
  staleRetryMs?: number
  /** What becomes of requests in flight to a peer that a new set does not accept: `'finish'` (default) or `'abort'`. */
  onRevoked?: 'finish' | 'abort'
  /** Longest set in bytes, as signed. Default 1,048,576; at most 67,108,864. */
  maxBytes?: number
  /** Called with every change, refusal and failure. What it throws or rejects with becomes a process warning. */
  onUpdate?(report: UpdateReport): void
}

/** {@link UpdateOptions} after reading. */
export interface UpdateSettings extends Required<Omit<UpdateOptions, 'trustedKeys' | 'threshold' | 'onUpdate'>> {
  readonly trust: SigningTrust
  readonly onUpdate: UpdateOptions['onUpdate']
}

/** @throws {PolicyInvalidError | TypeError} naming the option */
export function readUpdateOptions(given: UpdateOptions): UpdateSettings {
  const options = readOptions(given, optionNames, 'updates')
  if (!hasMethods(options.source, ['fetch'])) throw new PolicyInvalidError('updates.source', `must be a source of pin sets, not ${describeType(options.source)}; right would be httpsSource(url), fileSource(path) or an object with fetch()`)
  const { source } = options
  demandName(source.name, 'updates.source.name')
  if (source.url !== undefined && Object.prototype.toString.call(source.url) !== '[object URL]') throw new PolicyInvalidError('updates.source.url', `must be a URL object, not ${describeType(source.url)}; right would be new URL("https://pins.example.com/pins.jws")`)
  readFunction(source.subscribe, 'updates.source.subscribe')
  readFunction(source.close, 'updates.source.close')
  if (options.store !== undefined && !hasMethods(options.store, ['load', 'save'])) throw new PolicyInvalidError('updates.store', `must be a store, not ${describeType(options.store)}; right would be fileStore(folder) or memoryStore()`)
  if (options.store !== undefined) demandName(options.store.name, 'updates.store.name')
  if (typeof options.audience !== 'string' || options.audience === '') throw new PolicyInvalidError('updates.audience', 'must be the name that the sets for this program bear; there is no default, since a set for another program must not be taken for it')
  return {
    source,
    store: options.store ?? memoryStore(),
    trust: SigningTrust.of(options.trustedKeys, options.threshold),
    audience: options.audience,
    updatePolicy: readChoice(options.updatePolicy, ['background', 'before-first-request'], 'background', 'updates.updatePolicy'),
    firstRefresh: readChoice(options.firstRefresh, ['at-once', 'spread'], 'at-once', 'updates.firstRefresh'),
    firstRefreshTimeoutMs: readDuration(options.firstRefreshTimeoutMs, 5_000, 'firstRefreshTimeoutMs'),
    fetchTimeoutMs: readDuration(options.fetchTimeoutMs, 10_000, 'fetchTimeoutMs'),
    onExpiredSet: readChoice(options.onExpiredSet, ['refuse', 'bootstrap', 'report-only'], 'refuse', 'updates.onExpiredSet'),
    staleRetryMs: options.staleRetryMs === Infinity ? Infinity : readDuration(options.staleRetryMs, 60_000, 'staleRetryMs'),
    onRevoked: readChoice(options.onRevoked, ['finish', 'abort'], 'finish', 'updates.onRevoked'),
    maxBytes: readNumber(options.maxBytes, defaultMaxBytes, 1_000, 67_108_864, 'maxBytes'),
    onUpdate: readFunction(options.onUpdate, 'updates.onUpdate')
  }
}

const optionNames = ['source', 'trustedKeys', 'threshold', 'audience', 'store', 'updatePolicy', 'firstRefresh', 'firstRefreshTimeoutMs', 'fetchTimeoutMs', 'onExpiredSet', 'staleRetryMs', 'onRevoked', 'maxBytes', 'onUpdate']

/** Reports and `status()` say it. */
function demandName(name: unknown, option: string): void {
  if (typeof name !== 'string' || name === '') throw new PolicyInvalidError(option, `must be a text that says what it is, without a secret, not ${name === '' ? 'an empty one' : describeType(name)}`)
}

function hasMethods(value: unknown, names: readonly string[]): boolean {
  return typeof value === 'object' && value !== null && names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')
}

function readDuration(value: unknown, fallback: number, name: string): number {
  return readNumber(value, fallback, 1, 86_400_000, name)
}

function readNumber(value: unknown, fallback: number, least: number, most: number, name: string): number {
  if (value === undefined) return fallback
  if (typeof value !== 'number' || !(value >= least && value <= most)) throw new PolicyInvalidError(`updates.${name}`, `must be a number from ${least} to ${most}, not ${typeof value === 'number' ? value : describeType(value)}`)
  return value
}
