import { fuzzPinSets } from '../support/forged-pin-sets.js'

test('of 100,000 inputs none crashes the verification, and none is accepted that was not signed', async () => {
  await fuzzPinSets(100_000)
})
