import { createHash } from 'node:crypto'
import type { JsonWebKey, KeyObject } from 'node:crypto'
import type { ValidateFunction } from 'ajv'
import { PolicyInvalidError, UpdateRejectedError } from '../errors.js'
import type { UpdateRejection } from '../errors.js'
import { readInstant } from '../policy/options.js'
import type { HostPolicy } from '../policy/policy.js'
import { StrictJsonError, immediate, parseStrictJson } from './json.js'
import type { Pause } from './json.js'
import { isBeyondThisNode, readPrivateKey, readSigningKey } from './keys.js'
import { pinSetSchema } from './schema.js'
import { SignatureError, readUnverified, signPayload, verifySignatures } from './signatures.js'
import type { Signature } from './signatures.js'
import type { SigningTrust } from './trust.js'

/** The pins of one host pattern in a set. How strictly they are enforced is said by each client, not by a set. */
export type PinSetHost = Pick<HostPolicy, 'certificates' | 'publicKeys' | 'authorities' | 'pins' | 'rejected' | 'includeSubDomains'> & { readonly expires?: string }

/** What is signed; `schemas/pin-set.schema.json` is its schema. */
export interface PinSetPayload {
  readonly $schema?: string
  /** From 1, only ever rising. */
  readonly version: number
  /** ISO 8601 instant, with its zone. */
  readonly issued: string
  /** ISO 8601 instant after which the set is not trusted any more. */
  readonly expires: string
  /** How long clients wait until they look for the next set, in milliseconds. Default 3,600,000. */
  readonly refreshMs?: number
  /** Which clients it is for. */
  readonly audience: string
  readonly pins: Readonly<Record<string, readonly string[] | PinSetHost>>
  /** Signing keys that are trusted as well from now on. */
  readonly keys?: readonly JsonWebKey[]
  readonly revoked?: {
    /** Pins that must not occur in any verified chain, for as long as the newest set says so. */
    readonly pins?: readonly string[]
    /** Thumbprints of signing keys that are never trusted again. */
    readonly keys?: readonly string[]
  }
}

/** A set whose signatures and payload have been checked; only {@link verifyManifest} makes one. */
export interface PinSet {
  readonly version: number
  readonly issued: Date
  readonly expires: Date
  readonly refreshMs: number
  readonly audience: string
  readonly pins: PinSetPayload['pins']
  readonly revokedPins: readonly string[]
  /** SHA-256 of the payload, base64url. */
  readonly hash: string
  /** The signed text. */
  readonly text: string
  /** Whom to trust from now on. */
  readonly trust: SigningTrust
  /** The set names or revokes signing keys that were not, or were, trusted before it. */
  readonly changesTrust: boolean
  /** Thumbprints of the trusted keys that have signed it, of the keys that it names, and of those that it revokes. */
  readonly signers: readonly string[]
  readonly namedKeys: readonly string[]
  readonly revokedKeys: readonly string[]
}

/** What a set is verified against. */
export interface Expectations {
  readonly trust: SigningTrust
  readonly audience: string
  /** Milliseconds since the epoch. */
  readonly now: number
  /** The highest version seen so far, and the hash of its payload. */
  readonly kept?: { readonly version: number; readonly hash: string } | undefined
  /** The version in force, for error texts. Default: the highest seen; `undefined` while the bootstrap pins are. */
  readonly inForce?: number | undefined
  /** Longest text, in bytes. Default 1 MiB. */
  readonly maxBytes?: number | undefined
  /** Lets other work run while a long set is read. Default: `setImmediate`. */
  readonly pause?: Pause | undefined
}

export const defaultMaxBytes = 1_048_576
export const maxHosts = 100_000
export const defaultRefreshMs = 3_600_000

/** How far the clocks of publisher and client may be apart. */
export const clockSkewMs = 5 * 60_000

/**
 * Verifies a signed pin set: size, signatures, form, audience, version and dates, in this order, so that nothing is read
 * of a payload that no trusted key has signed. Whether its pins can be used is found out by {@link policiesOf}.
 *
 * @throws {UpdateRejectedError} `ERR_PIN_UPDATE_REJECTED`, with the reason and the version that is kept
 */
export async function verifyManifest(text: string, expected: Expectations): Promise<PinSet> {
  return rejecting('inForce' in expected ? expected.inForce : expected.kept?.version, () => verify(text, expected))
}

/**
 * Verifies signatures and form only, as at the time the set was current: for sets that are loaded again from a store.
 * @throws {UpdateRejectedError}
 */
export async function verifyStoredManifest(text: string, expected: Omit<Expectations, 'now' | 'kept'>): Promise<PinSet> {
  return verifyManifest(text, { ...expected, now: whenItWasCurrent })
}

/** As `now`: every set was in its time once. */
export const whenItWasCurrent = Number.NaN

export async function signManifest(payload: PinSetPayload, privateKeys: readonly KeyObject[]): Promise<string> {
  if (privateKeys.length === 0) throw new PolicyInvalidError('keys', 'there is no key to sign with')
  const problem = await findSchemaProblem(payload, immediate)
  if (problem !== undefined) throw new PolicyInvalidError('payload', problem)
  return signPayload(Buffer.from(JSON.stringify(payload)), privateKeys)
}

/** What a signed set says, and who claims to have signed it; see {@link readUnverifiedManifest}. */
export interface UnverifiedManifest {
  readonly payload: PinSetPayload
  readonly signatures: readonly Signature[]
}

/**
 * Reads a signed set without verifying anything but its form: to show it, or to add a signature; never to use its pins.
 * @throws {UpdateRejectedError}
 */
export async function readUnverifiedManifest(text: string): Promise<UnverifiedManifest> {
  return rejecting(undefined, async () => {
    const { bytes, signatures } = await readUnverified(text, immediate)
    return { payload: await readPayload(bytes, immediate), signatures }
  })
}

/**
 * Adds signatures to those of a signed set, over the very same payload. The signatures that are there are not verified.
 *
 * @throws {UpdateRejectedError} when it is no signed set
 * @throws {PolicyInvalidError} when a key cannot sign, or has signed already
 */
export async function addSignatures(text: string, privateKeys: readonly KeyObject[]): Promise<string> {
  return rejecting(undefined, async () => {
    const { bytes, signatures } = await readUnverified(text, immediate)
    await readPayload(bytes, immediate)
    for (const [index, key] of privateKeys.entries()) {
      const { id } = readPrivateKey(key, `keys[${index}]`)
      if (signatures.some(({ kid }) => kid === id)) throw new PolicyInvalidError(`keys[${index}]`, `the set has a signature of this key, ${id}, already`)
    }
    return signPayload(bytes, privateKeys, signatures)
  })
}

async function rejecting<T>(kept: number | undefined, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (error instanceof Rejection || error instanceof SignatureError || error instanceof StrictJsonError) throw new UpdateRejectedError(error.reason, error.message, kept, { cause: error.cause })
    throw error
  }
}

async function verify(text: string, expected: Expectations): Promise<PinSet> {
  const { trust, audience, now, kept, maxBytes = defaultMaxBytes, pause = immediate } = expected
  if (typeof text !== 'string') throw new Rejection('malformed', 'it is not a text')
  if (text.length > maxBytes || Buffer.byteLength(text) > maxBytes) throw new Rejection('too-large', `it is larger than ${maxBytes} bytes`)
  const { bytes, signers } = await verifySignatures(text, trust, pause)
  const hash = createHash('sha256').update(bytes).digest('base64url')
  await pause()
  const payload = await readPayload(bytes, pause)

  if (payload.audience !== audience) throw new Rejection('audience', `it is for ${JSON.stringify(payload.audience)}, and this is ${JSON.stringify(audience)}`)
  const { version } = payload
  if (kept && version < kept.version) throw new Rejection('rollback', `its version ${version} is lower than ${kept.version}, which has been seen`)
  if (kept && version === kept.version && hash !== kept.hash) throw new Rejection('other-content', `version ${version} has been seen with other content`)
  const issued = instant(payload.issued, 'issued')
  const expires = instant(payload.expires, 'expires')
  if (expires <= issued) throw new Rejection('malformed', 'it expires before it is issued')
  if (issued.getTime() > now + clockSkewMs) throw new Rejection('from-the-future', `it was issued at ${payload.issued}, and it is ${new Date(now).toISOString()}`)
  if (now >= expires.getTime()) throw new Rejection('expired', `it expired at ${payload.expires}, and it is ${new Date(now).toISOString()}`)
  const next = trustAfter(trust, payload)
  return {
    version,
    issued,
    expires,
    refreshMs: payload.refreshMs ?? defaultRefreshMs,
    audience,
    pins: payload.pins,
    revokedPins: payload.revoked?.pins ?? [],
    hash,
    text,
    trust: next,
    changesTrust: next !== trust,
    signers,
    namedKeys: (payload.keys ?? []).filter((key) => !isBeyondThisNode(key)).map((key) => readSigningKey(key, 'keys').id),
    revokedKeys: payload.revoked?.keys ?? []
  }
}

class Rejection extends Error {
  constructor(readonly reason: UpdateRejection, message: string, options?: ErrorOptions) {
    super(message, options)
  }
}

/** A host policy in a set is nested four deep; whatever is deeper is none. */
const maxDepth = 6

async function readPayload(bytes: Buffer, pause: Pause): Promise<PinSetPayload> {
  const payload = await parseStrictJson(decodeUtf8(bytes), maxDepth, pause)
  const pins = (payload as Partial<PinSetPayload> | null)?.pins
  if (typeof pins === 'object' && pins !== null && Object.keys(pins).length > maxHosts) throw new Rejection('too-many-hosts', `it has more than ${maxHosts} hosts`)
  const problem = await findSchemaProblem(payload, pause)
  if (problem !== undefined) throw new Rejection('malformed', problem)
  return payload as PinSetPayload
}

function decodeUtf8(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new Rejection('malformed', 'it is not UTF-8')
  }
}

function instant(text: string, name: string): Date {
  try {
    return readInstant(text, name) as Date
  } catch (error) {
    throw new Rejection('malformed', (error as Error).message)
  }
}

function trustAfter(trust: SigningTrust, { keys, revoked }: PinSetPayload): SigningTrust {
  try {
    return trust.after(keys ?? [], revoked?.keys ?? [])
  } catch (error) {
    if (error instanceof PolicyInvalidError) throw new Rejection('signing-keys', error.message, { cause: error })
    throw error
  }
}

/** Host by host, so that a long set does not hold up the process. */
async function findSchemaProblem(payload: unknown, pause: Pause): Promise<string | undefined> {
  const { whole, host } = await (validators ??= compile())
  if (typeof payload !== 'object' || payload === null || !('pins' in payload) || typeof payload.pins !== 'object' || payload.pins === null) return describe(whole, payload)
  const hosts = Object.entries(payload.pins)
  // One stands for all, which are looked at below.
  const problem = describe(whole, { ...payload, pins: Array.isArray(payload.pins) || hosts.length === 0 ? payload.pins : { host: [''] } })
  if (problem !== undefined) return problem
  for (const [index, [pattern, policy]] of hosts.entries()) {
    if (index % hostsPerTurn === hostsPerTurn - 1) await pause()
    if (pattern.length > pinSetSchema.properties.pins.propertyNames.maxLength) return 'a host pattern is too long'
    const wrong = describe(host, policy)
    if (wrong !== undefined) return `pins[${JSON.stringify(pattern)}]: ${wrong}`
  }
  return undefined
}

const hostsPerTurn = 500

interface Validators {
  readonly whole: ValidateFunction
  readonly host: ValidateFunction
}

let validators: Promise<Validators> | undefined

async function compile(): Promise<Validators> {
  const { Ajv2020 } = await import('ajv/dist/2020.js')
  const ajv = new Ajv2020({ strict: true, strictTypes: false, allowUnionTypes: true })
  ajv.addSchema(pinSetSchema, 'set')
  return { whole: ajv.getSchema('set') as ValidateFunction, host: ajv.getSchema('set#/$defs/host') as ValidateFunction }
}

/** Where and what; never the values, which are the publisher's. */
function describe(validate: ValidateFunction, value: unknown): string | undefined {
  if (validate(value)) return undefined
  const [error] = validate.errors ?? []
  const extra = (error?.params as { additionalProperty?: unknown } | undefined)?.additionalProperty
  return `it is not of the schema: ${error?.instancePath || 'the whole'} ${error?.message ?? 'is wrong'}${typeof extra === 'string' ? ` (${JSON.stringify(extra.slice(0, 60))})` : ''}`
}
