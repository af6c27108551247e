import { PinsFileInvalidError } from '../errors.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { PolicySet } from '../policy/policy-set.js'
import { formatAndroid, parseAndroid } from './android.js'
import { formatCurl, parseCurl } from './curl.js'
import type { ReadPins, WrittenPins } from './foreign.js'
import { formatHpkp, parseHpkp } from './hpkp.js'
import { loadYaml } from '../late.cjs'
import { formatOkHttp, parseOkHttp } from './okhttp.js'
import { parsePinsFile } from './pins-file.js'
import { SourceError } from './source-document.js'
import { formatTrustKit, parseTrustKit } from './trustkit.js'

/** The formats that pins can be read from and written to. `json` and `yaml` are our own. */
export const formats = ['json', 'yaml', 'android', 'trustkit', 'okhttp', 'okhttp-java', 'hpkp', 'curl'] as const

export type Format = (typeof formats)[number]

/** How pins are converted. */
export interface ConvertOptions {
  readonly from: Format
  readonly to: Format
  /** Of the file, for error texts. */
  readonly name: string
  /** Whose pins they are, where a format does not say; which host's, where a format has room for one. */
  readonly host?: string | undefined
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * Pins in one format to another. What cannot be said there is a note, never dropped without a word.
 * @throws {PinsFileInvalidError} with line and column of what is wrong
 * @throws {PolicyInvalidError} for `host`
 */
export function convertPins(text: string, options: ConvertOptions): WrittenPins {
  const read = readFormat(text, options)
  const written = writeFormat(read.policy, options)
  return { text: written.text, notes: [...read.notes, ...written.notes, ...(readers[options.from] !== own && readers[options.to] === own ? endingNotes(read.policy) : [])] }
}

/** What is ordinary in the other systems surprises in a file of ours. */
function endingNotes({ pins = {} }: PolicyOptions): string[] {
  return Object.entries(pins).flatMap(([name, policy]) => ('onExpiry' in policy && policy.onExpiry === 'allow' ? [`${name}: pinning ends at ${String(policy.expires)}, and every peer that PKI accepts passes then (onExpiry: 'allow'); 'refuse' would stop every request instead`] : []))
}

function readFormat(text: string, { from, name, host }: ConvertOptions): ReadPins {
  try {
    // Real ones have some kilobytes; what is larger is something else.
    if (readers[from] !== own && text.length > maxForeignLength) throw new SourceError({ line: 1, column: 1 }, `it has ${text.length} characters; at most ${maxForeignLength} are read of this format`)
    const read = readers[from](text.replace(/^\ufeff/, ''), { name, host })
    // Two patterns for the same hosts, no pins at all: as for options.
    new PolicySet(read.policy, 1)
    return read
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    throw new PinsFileInvalidError(name, [{ ...error.position, path: '', reason: error.reason }])
  }
}

const maxForeignLength = 1_000_000

type Reader = (text: string, options: { name: string; host: string | undefined }) => ReadPins

const own: Reader = (text, { name }) => {
  const { policy, refresh } = parsePinsFile(text, name)
  return { policy, notes: Object.keys(refresh).length > 0 ? ['refresh is about this file, not about connections; left out'] : [] }
}

const readers: Record<Format, Reader> = {
  json: own,
  yaml: own,
  android: parseAndroid,
  trustkit: parseTrustKit,
  okhttp: parseOkHttp,
  'okhttp-java': parseOkHttp,
  hpkp: (text, { host }) => parseHpkp(text, host),
  curl: (text, { host }) => parseCurl(text, host)
}

function writeFormat(policy: PolicyOptions, { to, host, now }: ConvertOptions): WrittenPins {
  switch (to) {
    case 'json':
      return { text: `${JSON.stringify(inOrder(policy), undefined, 2)}\n`, notes: [] }
    case 'yaml':
      return { text: loadYaml().stringify(inOrder(policy), { lineWidth: 0 }), notes: [] }
    case 'android':
      return formatAndroid(policy)
    case 'trustkit':
      return formatTrustKit(policy)
    case 'okhttp':
      return formatOkHttp(policy, 'kotlin')
    case 'okhttp-java':
      return formatOkHttp(policy, 'java')
    case 'hpkp':
      return formatHpkp(policy, host, now)
    case 'curl':
      return formatCurl(policy, host)
  }
}

/** Plain objects, which every writer takes. */
function inOrder(policy: PolicyOptions): unknown {
  return JSON.parse(JSON.stringify(policy)) as unknown
}
