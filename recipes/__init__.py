"""Makes embedded models again, from nothing: pictures with a licence, the run, what goes into the package.

```
python -m recipes.collect recipes/ov_nano/sources.toml --out packs     pictures of open packages, with their licences
python -m recipes.moves packs --out packs                              clips of them through the codec
ovstream train --data packs --out made --config recipes/ov_nano/recipe.json ...
python -m recipes.install made --card recipes/ov_nano/card.md          the result, measured and put in place
```
"""
