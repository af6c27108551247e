import { showDay, showDaysLeft, showText } from './format.js'
import type { Inspected, Shown } from './inspect.js'
import type { Colors } from './output.js'
import { showTarget } from './target.js'

/**
 * An inspection for people.
 * @param hint what to do about a server that is not trusted
 */
export function describeInspection(inspected: Inspected, colors: Colors, now: number, hint = ''): string {
  const { target, server, trusted, untrusted, served, verified, policy } = inspected
  const { bold, green, red, yellow } = colors
  const heading = server ? [showTarget(server), server.serverName === server.host ? undefined : `as ${showText(server.serverName)}`, server.tlsVersion, server.cipher, server.keyExchange ?? 'key exchange not shown by this version of Node', server.proxy && `through ${showText(server.proxy)}`].filter(Boolean).join('  ') : showText(target)
  const lines = [bold(heading), '']
  const reason = untrusted && showText(untrusted.message) + (untrusted.code === undefined ? '' : ` (${untrusted.code})`)
  if (trusted) lines.push(green(server ? "Trusted: Node's own verification accepts its chain and its name." : 'Trusted: a chain leads to a trust anchor.'))
  else lines.push(red(server ? `NOT TRUSTED: ${reason}${hint}.` : `Not trusted: ${reason}.`))
  if (!trusted && server) lines.push(red('Whoever answered may be anybody. Do not pin what is shown here unless you have compared it with the server itself.'))
  lines.push('', bold(server ? 'Served chain (unchecked)' : 'In the file'), ...served.flatMap((certificate, depth) => describeCertificate(certificate, depth, colors, now)))
  lines.push('', bold('Verified chain'))
  if (verified.length === 0) lines.push('  none: no chain of checked signatures leads from the leaf to a trust anchor')
  verified.forEach((certificate, depth) => {
    const at = served.findIndex(({ fingerprint }) => fingerprint === certificate.fingerprint)
    lines.push(...(at === -1 ? describeCertificate(certificate, depth, colors, now) : [`  ${depth}  ${bold(showText(certificate.subject) || '(no subject)')}, served at ${at}`, ...(depth === 0 ? [] : [`     pin          ${certificate.pin ?? '(key cannot be read)'}`])]))
  })
  if (policy) lines.push('', bold('Policy to paste'), ...describePolicy(policy, served[0] as Shown, yellow))
  return lines.join('\n')
}

function describeCertificate(certificate: Shown, depth: number, { bold, red, yellow }: Colors, now: number): string[] {
  const { subject, issuer, validFrom, validTo, names, key, signature, fingerprint, pin, daysLeft, ca } = certificate
  const left = validFrom.getTime() > now ? `not valid before ${showDay(validFrom)}` : showDaysLeft(validTo, now)
  const paint = validTo.getTime() < now || validFrom.getTime() > now ? red : daysLeft < 30 ? yellow : String
  const rows: Array<[string, string]> = [
    ['issuer', showText(issuer) || '(none)'],
    ['valid', `${showDay(validFrom)} to ${showDay(validTo)}, ${paint(left)}`],
    ...(names.length > 0 ? [['names', names.map(showText).join(', ')] as [string, string]] : []),
    ['key', `${key}${ca ? ', CA' : ''}`],
    ['signature', signature],
    ['fingerprint', fingerprint],
    ['pin', pin ?? '(key cannot be read)']
  ]
  return [`  ${depth}  ${bold(showText(subject) || '(no subject)')}`, ...rows.map(([name, value]) => `     ${name.padEnd(12)} ${value}`)]
}

/** JSON with comments: it can be pasted into a pins file, and into the options as it is. */
function describePolicy({ pins }: NonNullable<Inspected['policy']>, leaf: Shown, yellow: Colors['yellow']): string[] {
  const [pattern, { publicKeys, trust }] = Object.entries(pins)[0] as [string, { publicKeys: readonly string[]; trust?: string }]
  return [
    '  "pins": {',
    `    ${JSON.stringify(pattern)}: {`,
    ...(trust === undefined ? [] : ['      // Self-signed: the pin takes the place of a trust anchor.', `      "trust": ${JSON.stringify(trust)},`]),
    '      "publicKeys": [',
    ...backupHint.map((line) => `        ${yellow(`// ${line}`)}`),
    `        ${JSON.stringify(publicKeys[0])} // the key of ${showText(leaf.subject) || 'the leaf'}, certified until ${showDay(leaf.validTo)}`,
    '      ]',
    '    }',
    '  }'
  ]
}

const backupHint = [
  'A backup pin belongs here, of a key that has no certificate yet. Make one, and keep it offline:',
  '  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out backup-key.pem',
  '  npx axios-ssl-pinning pin backup-key.pem'
]
