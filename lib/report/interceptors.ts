/** Programs that put certificates of their own in place of a server's, by the name their CA bears. */
export interface Interceptor {
  readonly product: string
  readonly kind: 'debugging proxy' | 'network gateway' | 'antivirus'
}

/**
 * The product whose CA bears a name, or `undefined`. A name proves nothing: whoever makes a CA chooses its name.
 * @param name a distinguished name in one line: `CN=…, O=…`
 */
export function findInterceptor(name: string): Interceptor | undefined {
  interceptors ??= readRows()
  return interceptors.find(({ names }) => names.test(name))
}

type Row = readonly [product: string, names: RegExp]

// The names are those of the CAs that the products make or ship; each has a test. Only names that no public CA bears.
const debuggingProxies = (): readonly Row[] => [
  ['mitmproxy', /\bmitmproxy\b/i],
  ['Burp Suite', /\bPortSwigger\b/i],
  ['Charles', /\bCharles Proxy\b|\bXK72\b/i],
  ['Fiddler', /DO_NOT_TRUST|\bFiddler/i],
  ['HTTP Toolkit', /\bHTTP Toolkit\b/i],
  ['Proxyman', /\bProxyman\b/i],
  ['OWASP ZAP', /\bOWASP (?:Zed Attack Proxy|ZAP)\b|\bZAP Root CA\b|\bOWASP Root CA\b/i],
  ['Requestly', /\bRequestly\b/i],
  ['Reqable', /\bReqable\b/i],
  ['AnyProxy', /\bAnyProxy\b/i],
  ['whistle', /\bwhistle\.wproxy\.org\b|CN=whistle\b/i],
  ['Surge', /\bSurge Generated CA\b/i],
  ['Postman', /\bPostman Proxy\b/i],
  ['Caido', /\bCaido\b/i]
]

const gateways = (): readonly Row[] => [
  ['Zscaler', /\bZscaler\b/i],
  ['Netskope', /\bNetskope\b|\bgoskope\.com\b/i],
  ['Palo Alto Networks', /\bPalo ?Alto (?:Networks|Decrypt)/i],
  ['Fortinet', /\bFortinet\b|\bFortiGate\b|CN=FG[0-9A-Z]{4,}/i],
  ['Blue Coat', /\bBlue ?Coat\b|\bProxySG\b|CN=SSL-SG1-|CN=Cloud Services (?:Root )?CA|\bSymantec Web Security Service\b/i],
  ['Cisco Umbrella', /\bCisco Umbrella\b/i],
  ['Cisco Secure Web Appliance', /\bIronPort\b|\bCisco (?:Secure )?Web (?:Security )?Appliance\b/i],
  ['Cloudflare Gateway', /\bGateway CA - Cloudflare\b|\bCloudflare for Teams\b/i],
  ['Forcepoint', /\bForcepoint\b|\bWebsense\b/i],
  ['Check Point', /\bCheck ?Point (?:Software|HTTPS|Firewall|Management)/i],
  ['Barracuda', /\bBarracuda\b/i],
  ['SonicWall', /\bSonicWALL\b/i],
  ['WatchGuard', /\bWatchGuard\b|\bFireware HTTPS Proxy\b/i],
  ['Skyhigh (McAfee) Web Gateway', /\bMcAfee Web Gateway\b|\bSkyhigh (?:Security|Web Gateway|Secure Web)/i],
  ['Cato Networks', /\bCato Networks\b/i],
  ['iboss', /\biboss\b/i],
  ['Smoothwall', /\bSmoothwall\b/i],
  ['Lightspeed', /\bLightspeed (?:Systems|Rocket|Filter)/i],
  ['Securly', /\bSecurly\b/i],
  ['Untangle', /\bUntangle\b/i],
  ['Trend Micro Web Security', /\bTrend Micro\b|\bIWSVA\b/i],
  ['Microsoft Forefront TMG', /\bForefront TMG\b/i],
  ['Squid', /\bSquid (?:Proxy|CA|Root)|CN=squid\b|O=squid\b/i],
  ['the national CA of Kazakhstan', /\bQaznet\b/i]
]

const antiviruses = (): readonly Row[] => [
  ['Sophos', /\bSophos\b/i],
  ['Kaspersky', /\bKaspersky\b/i],
  ['ESET', /\bESET\b/i],
  ['Avast', /\bAvast\b/i],
  ['AVG', /\bAVG (?:Web|Technologies|trusted)/i],
  ['Bitdefender', /\bBitdefender\b/i],
  ['Norton', /\bNorton (?:Web|AntiVirus|360)/i],
  ['Dr.Web', /\bDr\.? ?Web\b|\bDoctor Web\b/i],
  ['AdGuard', /\bAdGuard\b/i],
  ['Superfish', /\bSuperfish\b/i]
]

/** Made when a first one is looked for: most programs never meet one. */
let interceptors: ReadonlyArray<Interceptor & { readonly names: RegExp }> | undefined

function readRows(): NonNullable<typeof interceptors> {
  return [
    ...debuggingProxies().map(([product, names]) => ({ product, names, kind: 'debugging proxy' as const })),
    ...gateways().map(([product, names]) => ({ product, names, kind: 'network gateway' as const })),
    ...antiviruses().map(([product, names]) => ({ product, names, kind: 'antivirus' as const }))
  ]
}
