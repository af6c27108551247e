import type { X509Certificate } from 'node:crypto'
import type { CertificateSummary } from '../errors.js'
import { buildChain, servedAfter } from './chain.js'
import type { VerifiedChain } from './chain.js'
import type { TrustAnchors } from './anchors.js'
import { rememberedKeyPin } from './key-pins.js'
import { checkName } from './name.js'

/**
 * What is known of one leaf certificate. Everything costly is worked out once, when first needed, and is a fact about
 * the certificate, not about a connection: its key's pin, and a chain whose signatures hold.
 */
export class PeerRecord {
  readonly fingerprint: string
  readonly validTo: number
  #pin: string | undefined
  #built: { readonly served: string; readonly chain: VerifiedChain } | undefined
  #name: string | undefined
  /** A verdict has asked for the chain. */
  #isDecisive = false

  /** @param anchors what OpenSSL was given on the connections that this record is of */
  constructor(readonly leaf: X509Certificate, readonly anchors: TrustAnchors, fingerprint = leaf.fingerprint256) {
    this.fingerprint = fingerprint
    this.validTo = Date.parse(leaf.validTo)
  }

  /** The pin of the leaf's key. @throws {PinInvalidError} when OpenSSL cannot read the key */
  get pin(): string {
    return (this.#pin ??= rememberedKeyPin(this.leaf))
  }

  /** {@link checkName} for this leaf; a name that fits once fits always. */
  checkName(name: string): Error | undefined {
    if (name === this.#name) return undefined
    const error = checkName(name, this.leaf)
    if (error === undefined) this.#name = name
    return error
  }

  /** The verified chain, where a verdict has needed it. */
  get knownChain(): VerifiedChain | undefined {
    return this.#isDecisive ? this.#built?.chain : undefined
  }

  /**
   * The verified chain. One that was found stays true for this leaf and what was served with it, while its dates hold: with
   * other certificates the chain may be another one, with a key in it that is pinned, or rejected. That none was found is
   * not remembered.
   *
   * @param leaf the certificate as read from this connection: it knows what was served after it
   * @param anchors other ones than the record's when a session is resumed that was made before an update
   */
  chain(leaf: X509Certificate, anchors: TrustAnchors, now: number): VerifiedChain | undefined {
    if (anchors === this.anchors) this.#isDecisive = true
    return this.chainToTell(leaf, anchors, now)
  }

  /** The same for those who tell of a verdict that was made without. */
  chainToTell(leaf: X509Certificate, anchors: TrustAnchors, now: number): VerifiedChain | undefined {
    const certificates = servedAfter(leaf)
    if (anchors !== this.anchors) return buildChain(leaf, certificates, anchors, now)
    const served = certificates.map(({ fingerprint256 }) => fingerprint256).join()
    const known = this.#built?.served === served ? this.#built.chain : undefined
    if (known && known.validFrom <= now && now <= known.validTo) return known
    const chain = buildChain(leaf, certificates, anchors, now)
    this.#built = chain && { served, chain }
    return chain
  }
}

/**
 * The records of the leaves seen lately, for one set of trust anchors. Bounded: anybody can show any certificate, so of
 * those that were not accepted only a few are kept, and none with much served, since all of that is kept with it.
 */
export class PeerRecords {
  readonly #accepted = new Map<string, PeerRecord>()
  readonly #others = new Map<string, PeerRecord>()

  constructor(readonly anchors: TrustAnchors, readonly limit = 1_000, readonly otherLimit = 16) {}

  of(leaf: X509Certificate): PeerRecord {
    const fingerprint = leaf.fingerprint256
    for (const [records, limit] of [[this.#accepted, this.limit], [this.#others, this.otherLimit]] as const) {
      const known = records.get(fingerprint)
      if (known) return remember(records, known, limit)
    }
    const record = new PeerRecord(leaf, this.anchors, fingerprint)
    return isModest(leaf) ? remember(this.#others, record, this.otherLimit) : record
  }

  /** Keeps the record of a peer that was accepted. */
  accept(record: PeerRecord): void {
    if (record.anchors !== this.anchors) return
    this.#others.delete(record.fingerprint)
    remember(this.#accepted, record, this.limit)
  }
}

/** Moves it to the end: the oldest entry is the first one. */
function remember(records: Map<string, PeerRecord>, record: PeerRecord, limit: number): PeerRecord {
  records.delete(record.fingerprint)
  records.set(record.fingerprint, record)
  if (records.size > limit) records.delete(records.keys().next().value as string)
  return record
}

const modestBytes = 16_384

function isModest(leaf: X509Certificate): boolean {
  let bytes = leaf.raw.length
  for (const { raw } of servedAfter(leaf)) bytes += raw.length
  return bytes <= modestBytes
}

export function summarise(certificate: X509Certificate): CertificateSummary {
  return {
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    validFrom: new Date(certificate.validFrom),
    validTo: new Date(certificate.validTo),
    fingerprint: certificate.fingerprint256,
    pin: readablePin(certificate)
  }
}

/** Node prints a name least specific part first, one part a line. */
export function oneLine(name: string | undefined): string {
  return escapeUnprintable((name ?? '').split('\n').reverse().join(', '))
}

/** Of a name as Node prints it: what a CA keeps, whatever it calls the certificates it issues from. */
export function organisationOf(name: string | undefined): string | undefined {
  const [, organisation] = /^O=(.+)$/m.exec(name ?? '') ?? []
  return organisation === undefined ? undefined : escapeUnprintable(organisation)
}

/**
 * Escapes what a terminal obeys, what turns the direction of text and what begins a line, except for plain line feeds: the
 * peer chooses what stands in its certificate.
 */
export function escapeUnprintable(text: string): string {
  return text.replaceAll(/[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu, (character) => `\\u{${(character.codePointAt(0) as number).toString(16)}}`)
}

function readablePin(certificate: X509Certificate): string | undefined {
  try {
    return rememberedKeyPin(certificate)
  } catch {
    return undefined
  }
}
