import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { worst } from '../../lib/cli/exit.js'
import { daysUntil, showDaysLeft, showText } from '../../lib/cli/format.js'
import { createAuthority } from '../support/pki.js'
import { runCommand } from '../support/terminal.js'

const escapes = /\u001b\[/

test('--help says what there is, and what the exit codes mean', async () => {
  const { code, stdout, stderr } = await runCommand(['--help'])
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toMatch(/Usage: axios-ssl-pinning[^]*Exit codes:[^]*0 +all is well[^]*64 +wrong usage/)
  expect(await runCommand(['--version'])).toMatchObject({ code: 0, stdout: '1.2.3\n' })
})

test('every command has --help and --json', async () => {
  const { stdout } = await runCommand(['--help'])
  const names = [...stdout.matchAll(/^ {2}([a-z]+) \[options\]/gm)].map(([, name]) => name as string)
  expect(names.length).toBeGreaterThan(0)
  for (const name of names) {
    const { code, stdout: help } = await runCommand([name, '--help'])
    expect([name, code]).toEqual([name, 0])
    expect(help).toMatch(/--json[^]*Exit codes:/)
  }
})

test('wrong usage is one line on stderr, and exit code 64', async () => {
  for (const [args, text] of [
    [['pim'], "unknown command 'pim' (Did you mean pin?)"],
    [['pin'], "missing required argument 'file'"],
    [['pin', '--jsno', 'x'], "unknown option '--jsno' (Did you mean --json?)"]
  ] as const) {
    expect(await runCommand(args)).toMatchObject({ code: 64, stdout: '', stderr: `axios-ssl-pinning: ${text}\n` })
  }
  const { code, stdout, stderr } = await runCommand([])
  expect([code, stdout]).toEqual([64, ''])
  expect(stderr).toMatch(/^Usage: axios-ssl-pinning/)
})

test('with --json an error is JSON on stdout', async () => {
  const ran = await runCommand(['pin', '--json', '/no/such/file'])
  expect(ran).toMatchObject({ code: 64, stderr: '' })
  expect(ran.json).toEqual({ error: { code: 'ENOENT', message: '/no/such/file cannot be read: there is no such file' }, exitCode: 64 })
})

test('colour is for terminals, and not with NO_COLOR', async () => {
  expect((await runCommand(['pin', '/no/such/file'], { tty: true })).stderr).toMatch(escapes)
  expect((await runCommand(['pin', '/no/such/file'], { tty: true, env: { NO_COLOR: '1' } })).stderr).not.toMatch(escapes)
  expect((await runCommand(['pin', '/no/such/file'])).stderr).not.toMatch(escapes)
})

test('what strangers write does not reach the terminal as control characters', async () => {
  expect(showText('a\u001b[2Jb\u202ec\nd\u009be')).toBe('a\\u{1b}[2Jb\\u{202e}c\\u{a}d\\u{9b}e')
  const { stderr } = await runCommand(['pin', '/no/such\u001b[31mfile'])
  expect(stderr).toBe('axios-ssl-pinning: /no/such\\u{1b}[31mfile cannot be read: there is no such file\n')
})

test('a pin comes from a file or from standard input', async () => {
  const root = createAuthority()
  expect(await runCommand(['pin', '-'], { stdin: root.pem })).toMatchObject({ code: 0, stdout: `${root.pin}\n`, stderr: '' })
})

test('the worst exit code wins', () => {
  expect(worst([0, 2, 3, 1])).toBe(1)
  expect(worst([0, 2, 3])).toBe(3)
  expect(worst([0, 2])).toBe(2)
  expect(worst([])).toBe(0)
})

test('days are counted down to the day itself, and shown to the nearest', () => {
  const now = Date.parse('2027-01-10T12:00:00Z')
  const at = (text: string): [number, string] => [daysUntil(new Date(text), now), showDaysLeft(new Date(text), now)]
  expect(at('2027-02-10T12:00:00Z')).toEqual([31, '31 days left'])
  expect(at('2027-01-24T11:59:59Z')).toEqual([13, '14 days left'])
  expect(at('2027-01-24T23:59:59Z')).toEqual([14, '14 days left'])
  expect(at('2027-01-25T00:00:00Z')).toEqual([14, '15 days left'])
  expect(at('2027-01-11T13:00:00Z')).toEqual([1, '1 day left'])
  expect(at('2027-01-11T11:00:00Z')).toEqual([0, 'ends within a day'])
  expect(at('2027-01-10T11:00:00Z')).toEqual([-1, 'expired today'])
  expect(at('2027-01-09T11:00:00Z')).toEqual([-2, 'expired 1 day ago'])
})

describe('standard output that takes nothing', () => {
  const main = join(__dirname, '../../dist/cjs/cli/main.js')
  const convert = (stdout: string) => spawnSync('sh', ['-c', `"$0" "$1" convert --from json --to yaml - ${stdout}`, process.execPath, main], { input: `{"pins":{"api.example.com":["sha256/${Buffer.alloc(32).toString('base64')}"]}}`, encoding: 'utf8' })

  const onLinux = existsSync('/dev/full') ? test : test.skip
  onLinux('a full disk is not success', () => {
    expect(convert('> /dev/full')).toMatchObject({ status: 64, stderr: expect.stringContaining('standard output cannot be written: ENOSPC') })
    expect(convert('--json > /dev/full')).toMatchObject({ status: 64 })
    // Nobody reads what went wrong; the result counts.
    expect(convert('2> /dev/full')).toMatchObject({ status: 0, stdout: expect.stringContaining('api.example.com') })
  })

  test('a file gets all of it', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-stdout-')), 'pins.yaml')
    expect(convert(`> '${file}'`)).toMatchObject({ status: 0 })
    expect(readFileSync(file, 'utf8')).toMatch(/^pins:\n.*api\.example\.com[^]*\n$/)
  })
})
