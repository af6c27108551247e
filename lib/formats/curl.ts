import { isIPv6 } from 'node:net'
import { PolicyInvalidError } from '../errors.js'
import { parsePin } from '../pin/pin.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { addHost, atPlace, digestOf, noPins, sayableHost, unpinnedNote } from './foreign.js'
import type { Abilities, ReadPins, WrittenPins } from './foreign.js'
import { SourceError } from './source-document.js'

/**
 * Reads the value of curl's `--pinnedpubkey`: alone, in a command line, or in a config file. Its pins are of the leaf's key.
 * https://curl.se/docs/manpage.html#--pinnedpubkey
 *
 * @param host whose pins they are; by default the one of the URL in the text
 * @throws {SourceError | PolicyInvalidError}
 */
export function parseCurl(text: string, host: string | undefined): ReadPins {
  const start = { line: 1, column: 1 }
  const values = [...text.matchAll(/(?:^|\s)(?:--)?pinnedpubkey(?:\s*[=:]\s*|\s+)(?:"([^"]*)"|'([^']*)'|(\S+))/g)].map((match) => match[1] ?? match[2] ?? match[3] ?? '')
  const value = values.length > 0 ? (values.at(-1) as string) : text.trim().replaceAll(/^["']|["']$/g, '')
  if (values.length > 1) throw new SourceError(start, 'there is more than one --pinnedpubkey in it')
  if (!value.includes('sha256//')) throw new SourceError(start, values.length > 0 ? '--pinnedpubkey names a file there; right would be sha256//…, which "axios-ssl-pinning pin <file>" gives' : 'there is no --pinnedpubkey in it')
  const pins = value.split(';').filter((each) => each.trim() !== '').map((each) => atPlace(start, () => parsePin(each).text))
  const name = host ?? hostOfUrl(text)
  if (name === undefined) throw new PolicyInvalidError('host', 'there is no https: URL in it to say whose pins they are; right would be --host api.example.com')
  const policies = noPins()
  addHost(policies, name, { publicKeys: [...new Set(pins)] }, start)
  return { policy: { pins: policies }, notes: [unpinnedNote(system)] }
}

/** Writes a command line for one host. */
export function formatCurl(policy: PolicyOptions, host: string | undefined): WrittenPins {
  const { host: { name, pattern, pins, includeSubDomains }, notes } = sayableHost(policy, host, abilities)
  if (includeSubDomains || pattern.wildcard !== 'exact') notes.push(`${name}: curl pins one request at a time, whatever its host`)
  const authority = `${isIPv6(pattern.host) ? `[${pattern.host}]` : pattern.host}${pattern.port === undefined ? '' : `:${pattern.port}`}`
  return { text: `curl --pinnedpubkey '${pins.map((pin) => `sha256//${digestOf(pin)}`).join(';')}' https://${authority}/\n`, notes }
}

const system = 'curl'
const abilities: Abilities = { system, pinsCount: 'leaf', ports: true, patterns: 'okhttp', oneHost: true, modes: ['enforce'], expiry: false, refusesUnpinned: false }

function hostOfUrl(text: string): string | undefined {
  const urls = (text.match(/https:\/\/[^\s"'<>]+/gi) ?? []).filter((url) => URL.canParse(url))
  const [host, another] = new Set(urls.map((url) => new URL(url).host))
  if (another !== undefined) throw new PolicyInvalidError('host', `there are https: URLs of ${host} and of ${another} in it; right would be --host with the one whose pins they are`)
  return host
}
