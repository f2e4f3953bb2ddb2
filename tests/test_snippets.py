"""Code as people have written it for transformers, unchanged but for the import."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from minitransformer import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    BertModel,
    Tokenizer,
    Trainer,
    TrainingArguments,
)

TEXTS = ["the sea is wide", "a ship", "the land is wide and the sea is deep"]
LABELS = [1, 0, 1]


@pytest.fixture(scope="module")
def model_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder in place of a name: a small pretrained model with its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.from_vocabulary(sorted({word for text in TEXTS for word in text.split()}))
    tokenizer.save_pretrained(folder)
    BertForPreTraining(BertConfig.preset("tiny", vocab_size=len(tokenizer))).save_pretrained(folder)
    return str(folder)


def learns(model: nn.Module, loss: Tensor) -> None:
    """Fail unless a loss is a number that every parameter that was read answers for."""
    assert torch.isfinite(loss)
    loss.backward()
    silent = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not silent, silent


def test_a_classifier_with_a_new_head(model_name: str) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(model_name, num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(model_name)

    def tokenize_function(examples: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return tokenizer(examples["text"], padding="max_length", truncation=True, max_length=12)

    encoded = tokenize_function({"text": TEXTS})
    assert [len(ids) for ids in encoded["input_ids"]] == [12, 12, 12]
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt").to(model.device)
    model.train()
    outputs = model(**batch, labels=torch.tensor(LABELS))
    assert outputs.logits.shape == (3, 2)
    assert outputs[0] is outputs.loss
    learns(model, outputs.loss)


class BertClassifier(nn.Module):
    """A model of one's own around the encoder."""

    def __init__(self, model_name: str, n_classes: int) -> None:
        super().__init__()
        self.bert = BertModel.from_pretrained(model_name)
        self.drop = nn.Dropout(p=0.3)
        self.out = nn.Linear(self.bert.config.hidden_size, n_classes)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        outputs = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        pooled_output = outputs[1]
        logits = self.out(self.drop(pooled_output))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_a_model_of_ones_own_around_the_encoder(model_name: str) -> None:
    model = BertClassifier(model_name, n_classes=2).train()
    batch = AutoTokenizer.from_pretrained(model_name)(TEXTS, padding=True, return_tensors="pt")
    outputs = model(**batch, labels=torch.tensor(LABELS))
    assert outputs["logits"].shape == (3, 2)
    learns(model, outputs["loss"])


def test_the_pooled_output_is_the_second_however_it_is_asked_for(model_name: str) -> None:
    model = BertModel.from_pretrained(model_name)
    batch = AutoTokenizer.from_pretrained(model_name)(TEXTS, padding=True, return_tensors="pt")
    outputs = model(**batch)
    last_hidden_state, pooled_output = model(**batch, return_dict=False)
    assert torch.equal(outputs[1], pooled_output)
    assert outputs[1] is outputs.pooler_output
    assert torch.equal(outputs[0], last_hidden_state)
    assert pooled_output.shape == (3, model.config.hidden_size)


class Reviews(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Encoded texts with labels, as tutorials have it."""

    def __init__(self, encodings: dict[str, list[list[int]]], labels: list[int]) -> None:
        self.encodings, self.labels = encodings, labels

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = {key: torch.tensor(value[index]) for key, value in self.encodings.items()}
        item["labels"] = torch.tensor(self.labels[index])
        return item

    def __len__(self) -> int:
        return len(self.labels)


@pytest.fixture
def reviews(model_name: str) -> Reviews:
    """Texts that speak of the sea, and texts that don't."""
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    return Reviews(tokenizer(TEXTS * 12, truncation=True, padding=True), LABELS * 12)


def test_the_trainer_as_tutorials_call_it_trains(
    model_name: str, reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_dataset = eval_dataset = reviews
    monkeypatch.chdir(tmp_path)  # the folders below are those of the tutorial

    from minitransformer import AutoModelForSequenceClassification, Trainer, TrainingArguments

    model = AutoModelForSequenceClassification.from_pretrained(model_name, num_labels=2)
    training_args = TrainingArguments(output_dir="./results", num_train_epochs=3, per_device_train_batch_size=16,
        per_device_eval_batch_size=64, warmup_steps=500, weight_decay=0.01, logging_dir="./logs")  # fmt: skip
    trainer = Trainer(model=model, args=training_args, train_dataset=train_dataset, eval_dataset=eval_dataset)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.state.global_step == 9, "three passes over 36 texts, 16 at once"
    assert trainer.evaluate()["eval_loss"] < before
    assert (tmp_path / "results" / "checkpoint-9").is_dir()
    assert list((tmp_path / "logs").iterdir()), "TensorBoard is installed here, and a folder for it was given"


def test_a_model_of_ones_own_around_the_encoder_trains(model_name: str, reviews: Reviews, tmp_path: Path) -> None:
    model = BertClassifier(model_name, n_classes=2)
    arguments = TrainingArguments(
        output_dir=tmp_path, num_train_epochs=6, per_device_train_batch_size=6, learning_rate=1e-3, logging_steps=6
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=reviews, eval_dataset=reviews)
    trainer.train()
    predicted = trainer.predict(reviews)
    assert (predicted.predictions.argmax(-1) == predicted.label_ids).all()
    again = BertClassifier(model_name, n_classes=2)
    Trainer(model=again, args=arguments, train_dataset=reviews).train(resume_from_checkpoint=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
