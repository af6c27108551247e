import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

const lib = join(__dirname, '../lib')

// Each may import those to its left, and itself. `pinning` is the file pinning.ts. `testing` stands alone; of the others
// only `cli` may use it: `renewal plan` has the kit write its certificate request. `late.cjs` is what loads the rest late.
const order = ['late.cjs', 'errors', 'pin', 'policy', 'formats', 'verify', 'report', 'integrity', 'transport', 'update', 'pinning', 'axios', 'cli']

const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))

function roomOf(file: string): string {
  return (file.split('/')[0] as string).replace(/\.ts$/, '')
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(lib, file), 'utf8')
  return [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)].map(([, path]) => relative(lib, resolve(lib, dirname(file), (path as string).replace(/\.js$/, '.ts'))))
}

test.each(files.filter((file) => !['index', 'testing'].includes(roomOf(file))))('%s imports only what stands to its left', (file) => {
  const own = order.indexOf(roomOf(file))
  expect(own).toBeGreaterThanOrEqual(0)
  const wrong = importsOf(file).filter((path) => !(order.indexOf(roomOf(path)) <= own && order.includes(roomOf(path))) && !(roomOf(file) === 'cli' && roomOf(path) === 'testing'))
  expect(wrong).toEqual([])
})

test('the testing kit stands alone', () => {
  for (const file of files.filter((each) => roomOf(each) === 'testing')) expect(importsOf(file).map(roomOf)).toEqual(importsOf(file).map(() => 'testing'))
})

test('only axios/ knows axios, and only transport/ opens sockets', () => {
  for (const file of files) {
    const text = readFileSync(join(lib, file), 'utf8')
    if (roomOf(file) !== 'axios') expect([file, /from 'axios'/.test(text)]).toEqual([file, false])
    if (!['transport', 'testing'].includes(roomOf(file))) expect([file, /import \* as (?:https?|tls|net) from/.test(text.replace(/import type[^\n]*/g, '')) && roomOf(file) !== 'verify']).toEqual([file, false])
  }
})

test('no room without a purpose in its name', () => {
  expect(files.filter((file) => /\b(?:utils?|helpers?|common|misc|types)\b/.test(file))).toEqual([])
})
